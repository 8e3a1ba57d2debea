# What survives: power cuts, full disks, damage, retention.
if(TARGET px_fs)
  add_executable(power_cut crash/power_cut.cc testing/disk_recorder.cc)
  target_link_libraries(power_cut PRIVATE px_fs px_base)
  add_test(NAME power_cut COMMAND power_cut --seed=1 --rounds=12)
  set_tests_properties(power_cut PROPERTIES LABELS crash TIMEOUT 300)
endif()
