#include "core/bundle.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "core/file.h"
#include "core/sha256.h"

namespace dsa {

namespace {

constexpr int64_t kMostManifest = 16 << 20, kMostText = 256 << 20;

void check_size(const Bundle& bundle, const std::string& name, const FileEntry& entry) {
  const std::string path = bundle.file(name);
  if (!is_file(path))
    throw Error(Kind::bundle,
                text(bundle.path, " lacks its file ", name, ": copy or export the bundle again."));
  const int64_t size = file_size(path);
  if (size != entry.bytes)
    throw Error(Kind::bundle, text(path, " has ", size, " bytes, its manifest says ", entry.bytes,
                                   ": copy or export the bundle again."));
}

std::string hash_of(const std::string& path) {
  const Spots file(path, Reads::bundle);
  const int64_t size = file_size(path);
  std::string block(1 << 18, '\0');  // a map would make the whole bundle resident
  Sha256 hash;
  for (int64_t at = 0; at < size;) {
    const auto count = static_cast<size_t>(std::min<int64_t>(size - at, block.size()));
    file.read(at, block.data(), count);
    hash.add(block.data(), count);
    at += static_cast<int64_t>(count);
  }
  return hash.hex();
}

// Why a file is not the listed one; empty where it is.
std::string changed(const Bundle& bundle, const std::string& name, const FileEntry& entry) {
  const std::string path = bundle.file(name);
  try {
    const std::string found = hash_of(path);
    if (found == entry.sha256) return {};
    return text(path, " was changed after the export (sha256 ", found.substr(0, 12), "…, manifest ",
                entry.sha256.substr(0, 12), "…): copy or export the bundle again.");
  } catch (const Error& error) {
    return error.what();
  }
}

// Hashing takes most of the time that opening does, so all cores share the files.
void check_hashes(const Bundle& bundle) {
  std::vector<std::pair<std::string, FileEntry>> files(bundle.manifest.files.begin(),
                                                       bundle.manifest.files.end());
  std::vector<std::string> wrong(files.size());
  const size_t workers = std::max(1u, std::min(8u, std::thread::hardware_concurrency()));
  std::vector<std::thread> threads;
  for (size_t worker = 0; worker < workers; ++worker)
    threads.emplace_back([&, worker] {
      for (size_t at = worker; at < files.size(); at += workers)
        wrong[at] = changed(bundle, files[at].first, files[at].second);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& why : wrong)
    if (!why.empty()) throw Error(Kind::bundle, why);
}

}  // namespace

Bundle Bundle::open(const std::string& path, bool hashes) {
  if (!is_folder(path))
    throw Error(Kind::bundle,
                text("no bundle at ", path, ": give the folder that `dsa-edge export` wrote."));
  const std::string told = join(path, "manifest.json");
  if (!is_file(told))
    throw Error(Kind::bundle, text(path,
                                   " is not a bundle (no manifest.json in it): give the "
                                   "folder that `dsa-edge export` wrote."));
  Bundle made{path, Manifest::read(read_file(told, kMostManifest, Reads::bundle), told)};
  for (const auto& [name, entry] : made.manifest.files) check_size(made, name, entry);
  if (hashes) check_hashes(made);
  return made;
}

std::string Bundle::file(const std::string& name) const { return join(path, name); }

std::optional<std::string> Bundle::read_text(const std::string& name) const {
  if (!manifest.files.count(name)) return std::nullopt;
  return read_file(file(name), kMostText, Reads::bundle);
}

}  // namespace dsa
