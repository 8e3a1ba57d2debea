# Tests of launcher/spec. SPEC_TEST_DIR may be set to build them alone.
if(NOT DEFINED SPEC_TEST_DIR)
  set(SPEC_TEST_DIR ${CMAKE_CURRENT_SOURCE_DIR})
endif()
px_test(spec_test launcher
  ${SPEC_TEST_DIR}/launcher/spec_bo_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_files_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_group_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_literal_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_read_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_render_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_template_test.cc
  ${SPEC_TEST_DIR}/launcher/spec_validate_test.cc
)
target_link_libraries(spec_test PRIVATE px_spec)
