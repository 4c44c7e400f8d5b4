// Texts between Java and C. Only malloc and memcpy are used, so that the border builds without a
// C++ library as well (android_demo/scripts/build_jni.sh).
#pragma once

#include <jni.h>
#include <stdlib.h>
#include <string.h>

namespace dsa_jni {

// A copy of a Java byte array with a zero at its end; `text` is null for a null array.
class Bytes {
 public:
  Bytes(JNIEnv* env, jbyteArray array) : text(nullptr) {
    if (array == nullptr) return;
    const jsize size = env->GetArrayLength(array);
    text = static_cast<char*>(malloc(static_cast<size_t>(size) + 1));
    if (text == nullptr) return;
    env->GetByteArrayRegion(array, 0, size, reinterpret_cast<jbyte*>(text));
    text[size] = '\0';
  }
  ~Bytes() { free(text); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  char* text;
};

// The same of an array of arrays; `texts` is null where memory is short.
class TextList {
 public:
  TextList(JNIEnv* env, jobjectArray arrays)
      : count(static_cast<size_t>(env->GetArrayLength(arrays))),
        texts(static_cast<char**>(calloc(count + 1, sizeof(char*)))) {
    for (size_t i = 0; texts != nullptr && i < count; i++) {
      const jsize place = static_cast<jsize>(i);
      auto array = static_cast<jbyteArray>(env->GetObjectArrayElement(arrays, place));
      Bytes bytes(env, array);
      texts[i] = bytes.text;
      bytes.text = nullptr;  // ours now
      env->DeleteLocalRef(array);
    }
  }
  ~TextList() {
    for (size_t i = 0; texts != nullptr && i < count; i++) free(texts[i]);
    free(texts);
  }
  TextList(const TextList&) = delete;
  TextList& operator=(const TextList&) = delete;

  const size_t count;
  char** const texts;
};

// A Java byte array of so many bytes, or null with an OutOfMemoryError pending.
inline jbyteArray to_java(JNIEnv* env, const void* bytes, size_t size) {
  jbyteArray array = env->NewByteArray(static_cast<jsize>(size));
  if (array != nullptr) {
    env->SetByteArrayRegion(array, 0, static_cast<jsize>(size), static_cast<const jbyte*>(bytes));
  }
  return array;
}

inline jbyteArray to_java(JNIEnv* env, const char* text) {
  return to_java(env, text, strlen(text));
}

}  // namespace dsa_jni
