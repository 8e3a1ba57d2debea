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
  mount/pages_test.cc
  mount/remount_test.cc
  mount/shared_file_test.cc
  mount/scrub_test.cc
  mount/snapshot_test.cc
  mount/bad_ioctl_test.cc
  mount/send_test.cc
  mount/trash_test.cc
  mount/versions_test.cc
  mount/volume_fixture.cc
  mount/wake_latency_test.cc
)
target_link_libraries(clone_mount_test PRIVATE px_mount_main px_fs nlohmann_json::nlohmann_json)
px_mount_test(clone_mount_test passthrough cached user xfs)

add_executable(keeper_test
  mount/keeper_test.cc
  mount/volume_fixture.cc
)
target_link_libraries(keeper_test PRIVATE px_mount_main px_fault_testing px_fs)
px_mount_test(keeper_test passthrough cached user xfs)

add_executable(diff_fuzz
  fuzz/diff_fuzz.cc
  fuzz/worker.cc
)
target_link_libraries(diff_fuzz PRIVATE px_mount_testing)
px_mount_test(diff_fuzz plain passthrough cached user xfs)
# The same with a daemon that is killed with its keeper while files are open.
foreach(mode passthrough cached)
  add_test(NAME kill_fuzz.${mode} COMMAND diff_fuzz --mode=${mode} --kills)
  set_tests_properties(kill_fuzz.${mode} PROPERTIES LABELS mount TIMEOUT 300)
endforeach()
# And with one that is replaced all the while.
foreach(mode passthrough cached user xfs)
  add_test(NAME takeover_fuzz.${mode} COMMAND diff_fuzz --mode=${mode} --takeovers)
  set_tests_properties(takeover_fuzz.${mode} PROPERTIES LABELS mount TIMEOUT 300)
endforeach()

add_executable(kill_loop fuzz/kill_loop.cc)
target_link_libraries(kill_loop PRIVATE px_mount_testing)
px_mount_test(kill_loop passthrough cached)

# Faults of the store's filesystem, injected into px-fs. Not with sanitizers: their runtimes want to be
# loaded first.
add_library(px_fault_testing STATIC testing/fault_injector.cc)
target_link_libraries(px_fault_testing PUBLIC px_mount_testing)
if(NOT PX_SANITIZE)
  add_library(px_fault_shim MODULE testing/fault_shim.cc)
  target_link_libraries(px_fault_shim PRIVATE px_options)
  target_compile_options(px_fault_shim PRIVATE -U_FILE_OFFSET_BITS -Wno-useless-cast)
  target_compile_definitions(px_fault_testing PRIVATE PX_FAULT_SHIM="$<TARGET_FILE:px_fault_shim>")
  add_dependencies(px_fault_testing px_fault_shim)
endif()

if(NOT PX_SANITIZE)
  add_executable(errno_matrix mount/errno_matrix.cc mount/errno_operations.cc mount/watchdog.cc)
  target_link_libraries(errno_matrix PRIVATE px_fault_testing)
  add_executable(kill_points crash/kill_points.cc)
  target_link_libraries(kill_points PRIVATE px_fault_testing)
  foreach(mode passthrough cached xfs)
    add_test(NAME errno_matrix.${mode} COMMAND errno_matrix --mode=${mode} --stride=23)
    set_tests_properties(errno_matrix.${mode} PROPERTIES LABELS mount TIMEOUT 300)
  endforeach()
  foreach(mode passthrough cached)
    add_test(NAME kill_points.${mode} COMMAND kill_points --mode=${mode})
    set_tests_properties(kill_points.${mode} PROPERTIES LABELS crash TIMEOUT 300)
  endforeach()
endif()
