# What survives: power cuts, full disks, damage, retention.
if(TARGET px_fs)
  add_executable(power_cut crash/power_cut.cc testing/disk_recorder.cc)
  target_link_libraries(power_cut PRIVATE px_fs px_base)
  add_test(NAME power_cut COMMAND power_cut --seed=1 --rounds=12)
  set_tests_properties(power_cut PROPERTIES LABELS crash TIMEOUT 300)
endif()

# On small disks of their own.
add_library(px_small_disk STATIC testing/small_disk.cc)
target_link_libraries(px_small_disk PUBLIC px_mount_testing)
function(px_disk_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE px_small_disk nlohmann_json::nlohmann_json)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS mount TIMEOUT 300)
endfunction()
px_disk_test(retention_test mount/retention_test.cc)
px_disk_test(full_disk_test mount/full_disk_test.cc)
