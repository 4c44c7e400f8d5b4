// The native methods of dev.dsaedge.Native over the C interface of the runner.
//
// A handle is an `Open`: the runner, and the Java object that it asks for keys for as long as it
// lives. Errors become Java exceptions here; none leaves a C function.
#include <jni.h>

#include "bytes.h"
#include "calls.h"
#include "dsa/runner.h"

namespace dsa_jni {
namespace {

struct Open {
  dsa_runner* runner;
  jobject keys;  // a global reference, or null
};

// A global reference: the runner may call back from another thread.
class Global {
 public:
  Global(JNIEnv* env, jobject object)
      : object(object == nullptr ? nullptr : env->NewGlobalRef(object)), env_(env) {}
  ~Global() {
    if (object != nullptr) env_->DeleteGlobalRef(object);
  }
  Global(const Global&) = delete;
  Global& operator=(const Global&) = delete;

  jobject object;

 private:
  JNIEnv* env_;
};

// A text that a function of the runner made.
class Made {
 public:
  Made() : text(nullptr) {}
  ~Made() { dsa_free(text); }
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;

  char* text;
};

dsa_runner* runner_of(jlong handle) { return reinterpret_cast<Open*>(handle)->runner; }

// Throws what a status means; returns whether there was nothing to throw.
bool check(JNIEnv* env, dsa_status status) {
  if (status == DSA_OK) return true;
  jbyteArray message = to_java(env, dsa_last_error());
  if (message == nullptr) return false;  // an OutOfMemoryError is pending
  auto error = static_cast<jthrowable>(env->CallStaticObjectMethod(
      methods.native, methods.raise, static_cast<jint>(status), message));
  if (!env->ExceptionCheck()) env->Throw(error);
  return false;
}

jbyteArray result(JNIEnv* env, dsa_status status, const Made& made) {
  if (!check(env, status)) return nullptr;
  return to_java(env, made.text == nullptr ? "" : made.text);
}

dsa_examples examples_of(const Bytes& lines) {
  dsa_examples examples = DSA_EXAMPLES;
  examples.lines = lines.text;
  return examples;
}

jint abi_version(JNIEnv*, jclass) { return dsa_abi_version(); }

jbyteArray version(JNIEnv* env, jclass) { return to_java(env, dsa_version()); }

jlong open(JNIEnv* env, jclass, jbyteArray bundle, jbyteArray store, jint threads,
           jobject callbacks) {
  const Bytes path(env, bundle), folder(env, store);
  Global keys(env, callbacks);
  dsa_open_options options = DSA_OPEN_OPTIONS;
  options.store = folder.text;
  options.threads = threads;
  options.key = keys.object == nullptr ? nullptr : key;
  options.key_context = keys.object;
  auto* opened = static_cast<Open*>(calloc(1, sizeof(Open)));
  if (opened == nullptr) return check(env, DSA_INTERNAL);
  if (!check(env, dsa_open(path.text, &options, &opened->runner))) {
    free(opened);
    return 0;
  }
  opened->keys = keys.object;
  keys.object = nullptr;  // the handle's now
  return reinterpret_cast<jlong>(opened);
}

void close(JNIEnv* env, jclass, jlong handle) {
  auto* opened = reinterpret_cast<Open*>(handle);
  dsa_close(opened->runner);
  if (opened->keys != nullptr) env->DeleteGlobalRef(opened->keys);
  free(opened);
}

void stop(JNIEnv*, jclass, jlong handle) { dsa_stop(runner_of(handle)); }

jbyteArray fit(JNIEnv* env, jclass, jlong handle, jbyteArray lines, jdouble seconds, jlong steps,
               jdouble memory_mb, jdouble disk_mb, jdouble epsilon, jdouble delta, jlong batch,
               jobject callbacks) {
  const Bytes text(env, lines);
  const Global calls(env, callbacks);
  const dsa_examples examples = examples_of(text);
  dsa_fit_options options = DSA_FIT_OPTIONS;
  options.seconds = seconds;
  options.steps = steps;
  options.memory_mb = memory_mb;
  options.disk_mb = disk_mb;
  dsa_privacy privacy = DSA_PRIVACY_OPTIONS;
  privacy.epsilon = epsilon;
  privacy.delta = delta;
  privacy.batch = batch;
  if (epsilon != 0) options.privacy = &privacy;
  Made report;
  const dsa_status status =
      dsa_fit(runner_of(handle), &examples, &options, on_progress, calls.object, &report.text);
  return result(env, status, report);
}

jbyteArray evaluate(JNIEnv* env, jclass, jlong handle, jbyteArray lines, jint version,
                    jobject callbacks) {
  const Bytes text(env, lines);
  const Global calls(env, callbacks);
  const dsa_examples examples = examples_of(text);
  Made json;
  const dsa_status status =
      dsa_evaluate(runner_of(handle), &examples, version, on_progress, calls.object, &json.text);
  return result(env, status, json);
}

jint choose(JNIEnv* env, jclass, jlong handle, jbyteArray prompt, jobjectArray choices,
            jint version, jdoubleArray probabilities) {
  const Bytes text(env, prompt);
  const TextList list(env, choices);
  auto* found = static_cast<double*>(calloc(list.count + 1, sizeof(double)));
  int32_t index = 0;
  const dsa_status status = found == nullptr || list.texts == nullptr
                                ? DSA_INTERNAL
                                : dsa_choose(runner_of(handle), text.text, list.texts, list.count,
                                             version, &index, found);
  if (check(env, status)) {
    env->SetDoubleArrayRegion(probabilities, 0, static_cast<jsize>(list.count), found);
  }
  free(found);
  return index;
}

jbyteArray generate(JNIEnv* env, jclass, jlong handle, jbyteArray prompt, jint max_tokens,
                    jint version, jobject callbacks) {
  const Bytes text(env, prompt);
  const Global calls(env, callbacks);
  dsa_generate_options options = DSA_GENERATE_OPTIONS;
  options.max_tokens = max_tokens;
  options.version = version;
  Made made;
  const dsa_status status =
      dsa_generate(runner_of(handle), text.text, &options, on_text, calls.object, &made.text);
  return result(env, status, made);
}

jbyteArray plain(JNIEnv* env, jclass, jlong handle, jbyteArray given) {
  const Bytes text(env, given);
  Made made;
  return result(env, dsa_plain(runner_of(handle), text.text, &made.text), made);
}

jbyteArray history(JNIEnv* env, jclass, jlong handle) {
  Made json;
  return result(env, dsa_history(runner_of(handle), &json.text), json);
}

void rollback(JNIEnv* env, jclass, jlong handle, jint version) {
  check(env, dsa_rollback(runner_of(handle), version));
}

void forget(JNIEnv* env, jclass, jlong handle) {
  check(env, dsa_forget(runner_of(handle), nullptr, 0, nullptr));
}

void save_adapter(JNIEnv* env, jclass, jlong handle, jbyteArray file) {
  const Bytes path(env, file);
  check(env, dsa_save_adapter(runner_of(handle), path.text));
}

jint load_adapter(JNIEnv* env, jclass, jlong handle, jbyteArray file) {
  const Bytes path(env, file);
  int32_t version = 0;
  check(env, dsa_load_adapter(runner_of(handle), path.text, &version));
  return version;
}

template <typename Function>
JNINativeMethod method(const char* name, const char* signature, Function* function) {
  return {const_cast<char*>(name), const_cast<char*>(signature), reinterpret_cast<void*>(function)};
}

// Registered, not found by name: a signature that differs from Java's fails when it is loaded.
bool register_methods(JNIEnv* env) {
  const JNINativeMethod all[] = {
      method("abiVersion", "()I", abi_version),
      method("version", "()[B", version),
      method("open", "([B[BILdev/dsaedge/Callbacks;)J", open),
      method("close", "(J)V", close),
      method("stop", "(J)V", stop),
      method("fit", "(J[BDJDDDDJLdev/dsaedge/Callbacks;)[B", fit),
      method("evaluate", "(J[BILdev/dsaedge/Callbacks;)[B", evaluate),
      method("choose", "(J[B[[BI[D)I", choose),
      method("generate", "(J[BIILdev/dsaedge/Callbacks;)[B", generate),
      method("plain", "(J[B)[B", plain),
      method("history", "(J)[B", history),
      method("rollback", "(JI)V", rollback),
      method("forget", "(J)V", forget),
      method("saveAdapter", "(J[B)V", save_adapter),
      method("loadAdapter", "(J[B)I", load_adapter),
  };
  const jint count = sizeof(all) / sizeof(all[0]);
  return env->RegisterNatives(methods.native, all, count) == JNI_OK;
}

}  // namespace
}  // namespace dsa_jni

extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* vm, void*) {
  void* env = nullptr;
  if (vm->GetEnv(&env, JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
  dsa_jni::machine = vm;
  auto* java = static_cast<JNIEnv*>(env);
  const bool ready = dsa_jni::find_methods(java) && dsa_jni::register_methods(java);
  return ready ? JNI_VERSION_1_6 : JNI_ERR;
}
