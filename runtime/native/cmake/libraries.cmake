# What the runner takes from the system: nlohmann/json, PCRE2, and utf8proc where it is there.
add_library(dsa_json INTERFACE)
target_include_directories(dsa_json SYSTEM INTERFACE ${DSA_JSON_INCLUDE})

find_path(DSA_PCRE2_INCLUDE pcre2.h REQUIRED)
find_library(DSA_PCRE2 pcre2-8 REQUIRED)
add_library(dsa_text_libraries INTERFACE)
target_include_directories(dsa_text_libraries SYSTEM INTERFACE ${DSA_PCRE2_INCLUDE})
target_link_libraries(dsa_text_libraries INTERFACE ${DSA_PCRE2})

# Models that read composed Unicode (Qwen) need it; the others do not.
find_path(DSA_UTF8PROC_INCLUDE utf8proc.h)
find_library(DSA_UTF8PROC utf8proc)
if(DSA_UTF8PROC_INCLUDE AND DSA_UTF8PROC)
  target_include_directories(dsa_text_libraries SYSTEM INTERFACE ${DSA_UTF8PROC_INCLUDE})
  target_link_libraries(dsa_text_libraries INTERFACE ${DSA_UTF8PROC})
  target_compile_definitions(dsa_text_libraries INTERFACE DSA_NFC)
endif()
