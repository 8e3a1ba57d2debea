# The tests of a mounted filesystem: each program runs once per mode (tests/testing/mount_fixture.h).

add_library(px_mount_testing STATIC
  testing/mount_fixture.cc
  testing/takeovers.cc
  mount/mode_main.cc
  mount/process.cc
  mount/tree.cc
  mount/volume.cc
)
target_link_libraries(px_mount_testing PUBLIC px_base GTest::gtest)
if(TARGET px-fs)
  target_compile_definitions(px_mount_testing PRIVATE PX_FS_PROGRAM="$<TARGET_FILE:px-fs>")
  add_dependencies(px_mount_testing px-fs)
endif()

# main() and the fixture of the GoogleTest programs.
add_library(px_mount_main STATIC
  mount/main.cc
  mount/posix.cc
  mount/watchdog.cc
)
target_link_libraries(px_mount_main PUBLIC px_mount_testing)

# px_mount_test(NAME MODE...): registers the program NAME with ctest once per mode.
function(px_mount_test name)
  foreach(mode IN LISTS ARGN)
    set(seed)
    if(name STREQUAL "diff_fuzz")
      set(seed --seed=20261124)  # the same calls each time; scripts/soak draws new ones
    endif()
    add_test(NAME ${name}.${mode} COMMAND ${name} --mode=${mode} ${seed})
    set_tests_properties(${name}.${mode} PROPERTIES
      LABELS mount TIMEOUT 300)
  endforeach()
endfunction()

add_executable(posix_mount_test
  mount/posix_acl_test.cc
  mount/posix_dir_test.cc
  mount/posix_link_test.cc
  mount/posix_lock_test.cc
  mount/posix_meta_test.cc
  mount/posix_mmap_test.cc
  mount/posix_name_test.cc
  mount/posix_open_test.cc
  mount/posix_rename_test.cc
  mount/posix_size_test.cc
  mount/posix_xattr_test.cc
)
target_link_libraries(posix_mount_test PRIVATE px_mount_main)
px_mount_test(posix_mount_test plain plain-user passthrough cached user xfs)

add_executable(clone_mount_test
  mount/clone_test.cc
  mount/shared_file_test.cc
  mount/scrub_test.cc
  mount/snapshot_test.cc
  mount/bad_ioctl_test.cc
  mount/send_test.cc
  mount/trash_test.cc
  mount/versions_test.cc
  mount/volume_fixture.cc
)
target_link_libraries(clone_mount_test PRIVATE px_mount_main px_fs nlohmann_json::nlohmann_json)
px_mount_test(clone_mount_test passthrough cached user xfs)

add_executable(keeper_test
  mount/keeper_test.cc
  mount/volume_fixture.cc
)
target_link_libraries(keeper_test PRIVATE px_mount_main px_fs)
px_mount_test(keeper_test passthrough cached user xfs)

add_executable(diff_fuzz
  fuzz/diff_fuzz.cc
  fuzz/worker.cc
)
target_link_libraries(diff_fuzz PRIVATE px_mount_testing)
px_mount_test(diff_fuzz plain passthrough cached user xfs)
# The same with a daemon that is replaced all the while.
foreach(mode passthrough cached user xfs)
  add_test(NAME takeover_fuzz.${mode} COMMAND diff_fuzz --mode=${mode} --takeovers)
  set_tests_properties(takeover_fuzz.${mode} PROPERTIES LABELS mount TIMEOUT 300)
endforeach()

add_executable(kill_loop fuzz/kill_loop.cc)
target_link_libraries(kill_loop PRIVATE px_mount_testing)
px_mount_test(kill_loop passthrough cached)
