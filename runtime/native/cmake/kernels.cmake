# Our ops for ExecuTorch, from kernels/native, as object files: dsa_ops.
set(kernels ${CMAKE_CURRENT_SOURCE_DIR}/../../kernels/native)
set(kernel_sources attend dispatch gated_lowrank lane_linear isa_baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND kernel_sources isa_avx2 isa_avx512)
  set_source_files_properties(${kernels}/core/isa_avx2.cpp
    PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(${kernels}/core/isa_avx512.cpp
    PROPERTIES COMPILE_OPTIONS "-mavx512f")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND kernel_sources isa_neon)
endif()
list(TRANSFORM kernel_sources PREPEND ${kernels}/core/)
list(TRANSFORM kernel_sources APPEND .cpp)
add_library(dsa_ops OBJECT ${kernel_sources} ${kernels}/executorch.cpp)
target_link_libraries(dsa_ops PRIVATE dsa_executorch_headers)
target_compile_options(dsa_ops PRIVATE -Wall -Wextra -fno-math-errno -fno-trapping-math)
