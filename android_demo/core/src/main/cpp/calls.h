// What the runner calls back into Java: class dev.dsaedge.Callbacks, whose methods never throw.
#pragma once

#include <jni.h>

#include "dsa/runner.h"

namespace dsa_jni {

// Ids of the methods; found once, when the library is loaded.
struct Methods {
  jmethodID on_progress, on_text, key;
  jclass native;    // dev.dsaedge.Native, a global reference
  jmethodID raise;  // its static method
};
extern Methods methods;
extern JavaVM* machine;

// Returns whether all were found; otherwise a Java error is pending.
bool find_methods(JNIEnv* env);

// Contexts of these are the Callbacks object.
int32_t on_progress(void* callbacks, const dsa_progress* progress);
int32_t on_text(void* callbacks, const char* piece);
int32_t key(void* callbacks, const char* store, const uint8_t* salt, int32_t new_store,
            uint8_t* key);

}  // namespace dsa_jni
