#include "cli/session.h"

#include <atomic>
#include <cstdio>
#include <memory>

#include "cli/keys.h"
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

namespace {

// A template, or what a file of one has.
std::string template_of(const std::string& told) {
  if (told.empty() || told[0] != '@') return told;
  // Not a stream of C++: those need types of Android's C library, which a shim has not.
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(told.c_str() + 1, "rb"), std::fclose);
  std::string content;
  char part[4096];
  for (size_t got = 1; file && got > 0; content.append(part, got))
    got = std::fread(part, 1, sizeof part, file.get());
  if (!file || std::ferror(file.get()))
    throw WrongUse("--template names a file that cannot be read: correct it.");
  if (!content.empty() && content.back() == '\n') content.pop_back();
  return content;
}

}  // namespace

Session::Session(const Options& options) : store_(options.get("store")) {
  if (options.plain().size() != 1)
    throw WrongUse("expected one bundle: `dsa_runner VERB BUNDLE`, and `--help` for more.");
  dsa_open_options told = DSA_OPEN_OPTIONS;
  told.store = store_.empty() ? nullptr : store_.c_str();
  told.threads = static_cast<int32_t>(options.whole("threads", 0));
  told.layers_kept = static_cast<int32_t>(options.whole("layers-kept", 0));
  told.skip_hashes = options.has("skip-hashes");
  key_ = key_named(options.get("key"), "DSA_EDGE_PASSPHRASE");
  if (options.has("key-file"))
    key_ = std::make_unique<dsa::learn::FileKey>(options.get("key-file"));
  if (key_) told.key = provided, told.key_context = key_.get();
  check(dsa_open(options.plain()[0].c_str(), &told, &runner_));
  running = runner_;
}

Session::~Session() {
  running = nullptr;
  dsa_close(runner_);
}

Data::Data(const Options& options)
    : path_(options.need("data")),
      template_(template_of(options.get("template"))),
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
