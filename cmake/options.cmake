# Flags every target of the project is built with, through the interface target px_options.
add_library(px_options INTERFACE)
target_include_directories(px_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(px_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wno-missing-field-initializers -fno-omit-frame-pointer)
target_compile_definitions(px_options INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(px_options INTERFACE -Wthread-safety)
endif()
# Optimised, GCC 12 sees overlapping copies in std::string's own code (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(px_options INTERFACE $<$<CONFIG:Release>:-Wno-restrict>)
endif()
if(PX_WERROR)
  target_compile_options(px_options INTERFACE -Werror)
endif()
if(PX_SANITIZE STREQUAL "address")
  target_compile_options(px_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  target_link_options(px_options INTERFACE -fsanitize=address,undefined)
elseif(PX_SANITIZE STREQUAL "thread")
  target_compile_options(px_options INTERFACE -fsanitize=thread)
  target_link_options(px_options INTERFACE -fsanitize=thread)
endif()

# px_library(NAME SOURCES...): a static library of one folder.
function(px_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PUBLIC px_options)
endfunction()

# px_test(NAME LABEL SOURCES...): a GoogleTest program registered with ctest under one label.
function(px_test name label)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE px_options GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 600)
endfunction()
