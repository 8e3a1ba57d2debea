find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(tl-expected REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(benchmark REQUIRED)
find_package(rapidcheck REQUIRED)
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

# libfuse comes from the prefix that scripts/setup fills (a static library): Debian 12's own knows
# neither passthrough (3.17) nor io_uring (3.18).
#   PkgConfig::FUSE3            what px-fs links
#   PkgConfig::FUSE3_CUSTOM_IO  the same with fuse_session_custom_io(), for the tests' fake kernel only.
#                               Name it before any library that links FUSE3: the first copy wins.
function(px_find_fuse name prefix)
  set(saved_path "$ENV{PKG_CONFIG_PATH}")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
  pkg_check_modules(${name} IMPORTED_TARGET GLOBAL fuse3>=3.18)
  set(ENV{PKG_CONFIG_PATH} "${saved_path}")
  if(NOT TARGET PkgConfig::${name})
    message(FATAL_ERROR "libfuse >= 3.18 was not found in ${prefix}: run scripts/setup first")
  endif()
endfunction()
px_find_fuse(FUSE3 ${PX_FUSE_PREFIX})
px_find_fuse(FUSE3_CUSTOM_IO ${PX_FUSE_PREFIX}/custom-io)
