// A bundle on disk: a folder and its manifest.
#pragma once

#include <optional>
#include <string>

#include "core/manifest.h"

namespace dsa {

struct Bundle {
  std::string path;
  Manifest manifest;

  // Reads the manifest and checks that the files are those it lists. check_hashes: false checks
  // only that they exist and have the listed sizes. Raises Error(bundle).
  static Bundle open(const std::string& path, bool check_hashes);

  std::string file(const std::string& name) const;

  // A text file of the bundle; none where the manifest lists no such file.
  std::optional<std::string> read_text(const std::string& name) const;
};

}  // namespace dsa
