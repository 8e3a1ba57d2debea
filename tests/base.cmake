px_test(base_test unit unit/base_test.cc)
target_link_libraries(base_test PRIVATE px_base)

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME include_rules_test
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/lint/include_rules.py ${PROJECT_SOURCE_DIR})
add_test(NAME include_rules_selftest
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/lint/include_rules_test.py)
set_tests_properties(include_rules_test include_rules_selftest PROPERTIES LABELS unit TIMEOUT 60)
