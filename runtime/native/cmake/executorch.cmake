# ExecuTorch from its installed package: dsa_executorch_headers to compile with, and
# dsa_executorch_libraries to link with, which bring the kernels and the delegate along.
if(NOT EXECUTORCH_ROOT)
  message(FATAL_ERROR
    "EXECUTORCH_ROOT is not set: give the folder of the installed executorch package, as "
    "`python -c \"import importlib.util as u; print(u.find_spec('executorch').submodule_search_locations[0])\"` "
    "tells it")
endif()
# The package's own CMake file makes targets for CMake 3.28 alone, so its paths are used directly.
set(executorch_lib ${EXECUTORCH_ROOT}/lib)
add_library(dsa_executorch_headers INTERFACE)
target_include_directories(dsa_executorch_headers SYSTEM INTERFACE
  ${EXECUTORCH_ROOT}/include
  ${EXECUTORCH_ROOT}/include/executorch/runtime/core/portable_type/c10)
target_compile_definitions(dsa_executorch_headers INTERFACE
  C10_USING_CUSTOM_GENERATED_MACROS ET_USE_THREADPOOL ET_EVENT_TRACER_ENABLED)

add_library(dsa_executorch_libraries INTERFACE)
if(ANDROID) # one library a processor has all of it; not built by us (docs/android.md)
  target_link_libraries(dsa_executorch_libraries INTERFACE
    ${executorch_lib}/${ANDROID_ABI}/libexecutorch.so)
  return()
endif()
# Two of them only register themselves, so nothing refers to them.
target_link_libraries(dsa_executorch_libraries INTERFACE
  -Wl,--push-state,--no-as-needed
  ${executorch_lib}/libexecutorch.so ${executorch_lib}/libexecutorch_threadpool.so
  ${executorch_lib}/libexecutorch_kernels_optimized.so
  ${executorch_lib}/libexecutorch_backend_xnnpack.so
  -Wl,--pop-state)
target_link_options(dsa_executorch_libraries INTERFACE -Wl,--allow-shlib-undefined)
