# The engine and its page table.
add_library(px_cow_testing STATIC model/cow_model.cc)
target_link_libraries(px_cow_testing PUBLIC px_catalog px_cow px_base)

px_test(cow_node_test unit unit/cow_node_test.cc)
target_link_libraries(cow_node_test PRIVATE px_cow_testing)
px_test(page_table_test unit unit/page_table_test.cc)
target_link_libraries(page_table_test PRIVATE px_catalog)
px_test(cow_store_model_test model model/cow_store_test.cc)
target_link_libraries(cow_store_model_test PRIVATE px_cow_testing)
