# Cross-build for 64-bit ARM Linux (Jetson and other boards) with Debian's compiler; what is built
# runs under an emulator, whose processor the environment names: QEMU_CPU=cortex-a76 ctest
#   cmake -S kernels/native -B build/arm --toolchain "$PWD/cmake/toolchains/aarch64-linux-gnu.cmake"
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# What scripts/aarch64/fetch.sh unpacked; where it has not run, what the machine has.
set(_fetched ${CMAKE_CURRENT_LIST_DIR}/../../build/aarch64)
cmake_path(NORMAL_PATH _fetched)
find_program(_emulator NAMES qemu-aarch64 qemu-aarch64-static NO_CMAKE_FIND_ROOT_PATH
  PATHS ${_fetched}/emulator/usr/bin NO_DEFAULT_PATH)
find_program(_emulator NAMES qemu-aarch64 qemu-aarch64-static NO_CMAKE_FIND_ROOT_PATH)
if(EXISTS ${_fetched}/root/.done)
  set(_libraries ${_fetched}/root)
  # Headers that differ between processors; CMake's own search leaves this folder out.
  set(CMAKE_C_STANDARD_INCLUDE_DIRECTORIES ${_fetched}/root/usr/include/aarch64-linux-gnu)
  set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES ${_fetched}/root/usr/include/aarch64-linux-gnu)
else()
  set(_libraries /usr/aarch64-linux-gnu)  # of the cross compiler itself
endif()
if(_emulator)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${_emulator} -L ${_libraries})
endif()

set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${_fetched}/root ${_fetched}/json /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
