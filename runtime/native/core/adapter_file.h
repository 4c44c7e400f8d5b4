// Adapter files: safetensors with the numbers, the gate, and what they belong to (docs/format.md).
#pragma once

#include "core/manifest.h"
#include "learn/records.h"

namespace dsa {

// Raises Error(adapter) when the file is missing or damaged, or belongs to another bundle. Of a
// small file, `along` names the start and the numbers are coordinates.
learn::Adapter load_adapter(const std::string& path, const Manifest& manifest);

// adapter: with all its numbers (n,). The file appears whole or not at all.
void save_adapter(const std::string& path, const learn::Adapter& adapter, const Manifest& manifest);

// Directions (M, n) of a bundle's learned start, as float32.
std::vector<float> load_directions(const std::string& path, const Manifest& manifest);

}  // namespace dsa
