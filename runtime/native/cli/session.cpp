#include "cli/session.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>

#include "cli/verbs.h"

namespace dsa_cli {

namespace {

std::atomic<dsa_runner*> running{nullptr};

}  // namespace

void check(dsa_status status) {
  if (status != DSA_OK) throw Failed(dsa_last_error(), status == DSA_USAGE);
}

std::string taken(char* text) {
  const std::string made = text ? text : "";
  dsa_free(text);
  return made;
}

int32_t key_of_file(void* context, const char* store, const uint8_t* salt, int32_t fresh,
                    uint8_t* key) {
  auto& file = *static_cast<dsa::learn::FileKey*>(context);
  try {
    const auto made = file.key(store, dsa::learn::Bytes(salt, salt + 16), fresh != 0);
    std::copy(made.begin(), made.end(), key);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dsa_runner: %s\n", error.what());
    return 1;
  }
}

Session::Session(const Options& options) : store_(options.get("store")) {
  if (options.plain().size() != 1)
    throw WrongUse("expected one bundle: `dsa_runner VERB BUNDLE`, and `--help` for more.");
  dsa_open_options told = DSA_OPEN_OPTIONS;
  told.store = store_.empty() ? nullptr : store_.c_str();
  told.threads = static_cast<int32_t>(options.whole("threads", 0));
  told.layers_kept = static_cast<int32_t>(options.whole("layers-kept", 0));
  told.skip_hashes = options.has("skip-hashes");
  if (options.has("key-file")) {
    key_ = std::make_unique<dsa::learn::FileKey>(options.get("key-file"));
    told.key = key_of_file, told.key_context = key_.get();
  }
  check(dsa_open(options.plain()[0].c_str(), &told, &runner_));
  running = runner_;
}

Session::~Session() {
  running = nullptr;
  dsa_close(runner_);
}

Data::Data(const Options& options)
    : path_(options.need("data")),
      template_(options.get("template")),
      labels_(options.list("labels")) {
  for (const std::string& label : labels_) pointers_.push_back(label.c_str());
  told.path = path_.c_str();
  if (!template_.empty()) told.template_text = template_.c_str();
  told.labels = pointers_.data(), told.label_count = pointers_.size();
}

void stop_running() {
  if (dsa_runner* runner = running.load()) dsa_stop(runner);
}

}  // namespace dsa_cli
