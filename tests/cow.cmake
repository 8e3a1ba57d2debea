px_test(cow_store_model_test model model/cow_store_test.cc model/cow_model.cc)
target_link_libraries(cow_store_model_test PRIVATE px_catalog px_cow px_base)
