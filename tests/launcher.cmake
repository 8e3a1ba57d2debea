# Tests of the catalog and the launcher. Those named in LAUNCHER_E2E run real jobs, on plain directories and on a mount.
px_test(catalog_test unit launcher/catalog_test.cc)
target_link_libraries(catalog_test PRIVATE px_catalog px_base)

px_test(catalog_repair_test unit launcher/catalog_repair_test.cc)
target_link_libraries(catalog_repair_test PRIVATE px_catalog px_base)

px_test(gpu_lease_test launcher launcher/lease_test.cc launcher/lease_model.cc)
target_link_libraries(gpu_lease_test PRIVATE px_catalog px_base)

add_library(px_launcher_testing STATIC testing/dir_outputs_fs.cc)
target_link_libraries(px_launcher_testing PUBLIC px_launcher)

# px-launch on plain directories instead of a mount.
add_executable(px-launch-plain testing/px_launch_plain.cc)
target_link_libraries(px-launch-plain PRIVATE px_launcher_testing)

# NVIDIA's management library, as far as px-launch uses it.
add_library(px_fake_nvml MODULE testing/fake_nvml.cc)
target_link_libraries(px_fake_nvml PRIVATE px_options)

px_test(launcher_unit_test launcher
  launcher/args_test.cc
  launcher/console_log_test.cc
  launcher/job_group_test.cc
  launcher/search_test.cc
  launcher/sync_tree_test.cc
)
target_link_libraries(launcher_unit_test PRIVATE px_launcher_testing)

# px_launcher_test(NAME LABEL SOURCES...): a test that runs real jobs, on plain directories and on a mount.
function(px_launcher_test name label)
  px_test(${name} ${label} launcher/launcher_fixture.cc ${ARGN})
  target_link_libraries(${name} PRIVATE px_launcher_testing)
  target_compile_definitions(${name} PRIVATE
    PX_LAUNCH_PROGRAM="$<TARGET_FILE:px-launch>"
    PX_LAUNCH_PLAIN_PROGRAM="$<TARGET_FILE:px-launch-plain>"
    PX_FS_PROGRAM="$<TARGET_FILE:px-fs>"
    PX_FAKE_NVML="$<TARGET_FILE:px_fake_nvml>"
  )
  add_dependencies(${name} px-launch px-launch-plain px-fs px_fake_nvml)
endfunction()

px_launcher_test(launcher_e2e_test launcher
  launcher/bad_input_test.cc
  launcher/checkpoint_test.cc
  launcher/clone_test.cc
  launcher/damaged_catalog_test.cc
  launcher/delete_test.cc
  launcher/gpu_test.cc
  launcher/group_test.cc
  launcher/job_test.cc
  launcher/json_test.cc
  launcher/run_test.cc
  launcher/supervisor_test.cc
  launcher/tools_test.cc
)
px_launcher_test(polyaxon_book_test launcher launcher/polyaxon_book_test.cc)
px_launcher_test(launcher_kill_test launcher launcher/kill_test.cc launcher/lease_model.cc)
px_launcher_test(launcher_gpu_queue_test long
  launcher/gpu_queue_test.cc launcher/lease_model.cc)
px_launcher_test(launcher_soak_test long launcher/soak_test.cc)
px_launcher_test(launcher_log_test long launcher/log_test.cc)
