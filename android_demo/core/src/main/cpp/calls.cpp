#include "calls.h"

#include "bytes.h"

namespace dsa_jni {

Methods methods;
JavaVM* machine;

namespace {

constexpr jsize kSaltBytes = 16, kKeyBytes = 32;
constexpr int32_t kGoOn = 0, kStop = 1;

// The environment of this thread. The runner may call back from a thread that Java does not know.
class Env {
 public:
  Env() : attached_(false) {
    void* known = nullptr;
    if (machine->GetEnv(&known, JNI_VERSION_1_6) == JNI_OK) {
      env_ = static_cast<JNIEnv*>(known);
      return;
    }
#ifdef __ANDROID__
    attached_ = machine->AttachCurrentThread(&env_, nullptr) == JNI_OK;
#else
    attached_ = machine->AttachCurrentThread(reinterpret_cast<void**>(&env_), nullptr) == JNI_OK;
#endif
    if (!attached_) env_ = nullptr;
  }
  ~Env() {
    if (attached_) machine->DetachCurrentThread();
  }
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;

  JNIEnv* get() const { return env_; }

 private:
  JNIEnv* env_;
  bool attached_;
};

// Nothing may be pending when the runner goes on; only a lack of memory can be.
int32_t verdict(JNIEnv* env, jboolean go_on) {
  if (env->ExceptionCheck()) {
    env->ExceptionClear();
    return kStop;
  }
  return go_on ? kGoOn : kStop;
}

// Copies a key out of Java and wipes Java's own copy.
bool take_key(JNIEnv* env, jbyteArray made, uint8_t* key) {
  if (made == nullptr) return false;
  env->GetByteArrayRegion(made, 0, kKeyBytes, reinterpret_cast<jbyte*>(key));
  const jbyte zeros[kKeyBytes] = {};
  env->SetByteArrayRegion(made, 0, kKeyBytes, zeros);
  env->DeleteLocalRef(made);
  return true;
}

}  // namespace

bool find_methods(JNIEnv* env) {
  jclass calls = env->FindClass("dev/dsaedge/Callbacks");
  jclass native = env->FindClass("dev/dsaedge/Native");
  if (calls == nullptr || native == nullptr) return false;
  methods.on_progress = env->GetMethodID(calls, "onProgress", "(IJJDDD)Z");
  methods.on_text = env->GetMethodID(calls, "onText", "([B)Z");
  methods.key = env->GetMethodID(calls, "key", "([B[BZ)[B");
  methods.native = static_cast<jclass>(env->NewGlobalRef(native));
  methods.raise = env->GetStaticMethodID(native, "raise", "(I[B)Ldev/dsaedge/DsaEdgeException;");
  return !env->ExceptionCheck();
}

int32_t on_progress(void* callbacks, const dsa_progress* progress) {
  const Env env;
  if (env.get() == nullptr) return kStop;
  const jboolean go_on = env.get()->CallBooleanMethod(
      static_cast<jobject>(callbacks), methods.on_progress, static_cast<jint>(progress->phase),
      static_cast<jlong>(progress->done), static_cast<jlong>(progress->total), progress->loss,
      progress->held_out_loss, progress->seconds);
  return verdict(env.get(), go_on);
}

int32_t on_text(void* callbacks, const char* piece) {
  const Env env;
  if (env.get() == nullptr) return kStop;
  jbyteArray text = to_java(env.get(), piece);
  if (text == nullptr) return verdict(env.get(), JNI_FALSE);
  const jboolean go_on =
      env.get()->CallBooleanMethod(static_cast<jobject>(callbacks), methods.on_text, text);
  const int32_t result = verdict(env.get(), go_on);
  env.get()->DeleteLocalRef(text);  // a long text would fill the table of references
  return result;
}

int32_t key(void* callbacks, const char* store, const uint8_t* salt, int32_t new_store,
            uint8_t* key) {
  const Env env;
  if (env.get() == nullptr) return kStop;
  jbyteArray id = to_java(env.get(), store);
  jbyteArray salted = id == nullptr ? nullptr : to_java(env.get(), salt, kSaltBytes);
  if (salted == nullptr) return verdict(env.get(), JNI_FALSE);
  const jboolean is_new = new_store != 0;
  auto made = static_cast<jbyteArray>(env.get()->CallObjectMethod(static_cast<jobject>(callbacks),
                                                                  methods.key, id, salted, is_new));
  env.get()->DeleteLocalRef(id);
  env.get()->DeleteLocalRef(salted);
  if (env.get()->ExceptionCheck()) return verdict(env.get(), JNI_FALSE);
  return take_key(env.get(), made, key) ? kGoOn : kStop;
}

}  // namespace dsa_jni
