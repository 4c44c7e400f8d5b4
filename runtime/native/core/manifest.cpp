#include "core/manifest.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/canonical.h"
#include "core/errors.h"
#include "core/json.h"
#include "learn/blake2b.h"

namespace dsa {

namespace {

constexpr int64_t kMost = int64_t{1} << 31, kMostLayers = 10000, kMostNumbers = int64_t{1} << 28;
constexpr size_t kMostName = 250;  // bytes of a file's path inside the bundle
// In the order in which a layer computes them, which is that of the slots.
constexpr const char* kPoints[] = {"attention_norm", "q",    "k",  "v",    "o",  "attention",
                                   "mlp_norm",       "gate", "up", "down", "mlp"};

[[noreturn]] void wrong(const std::string& what) { throw Broken(what); }

const Json& field(const Json& of, const char* name) {
  const auto found = of.find(name);
  if (found == of.end()) wrong(text("it has no ", name));
  return *found;
}

int64_t whole(const Json& of, const char* name, int64_t least, int64_t most) {
  const Json& value = field(of, name);
  const bool fits =
      value.is_number_integer() && value.get<int64_t>() >= least &&
      (!value.is_number_unsigned() || value.get<uint64_t>() < uint64_t(kMost) << 31) &&
      value.get<int64_t>() < most;
  if (!fits) wrong(text(name, " is ", written(value).substr(0, 40)));
  return value.get<int64_t>();
}

double number(const Json& of, const char* name) {
  const Json& value = field(of, name);
  if (!value.is_number() || !std::isfinite(value.get<double>())) wrong(text(name, " is no number"));
  return value.get<double>();
}

std::string string(const Json& of, const char* name) {
  const Json& value = field(of, name);
  if (!value.is_string()) wrong(text(name, " is no text"));
  return value.get<std::string>();
}

const Json& object(const Json& of, const char* name) {
  const Json& value = field(of, name);
  if (!value.is_object()) wrong(text(name, " is no object"));
  return value;
}

const Json& list(const Json& of, const char* name) {
  const Json& value = field(of, name);
  if (!value.is_array()) wrong(text(name, " is no list"));
  return value;
}

bool leaves(const std::string& path) {
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, end - at);
    if (part == ".." || (part.empty() && end < path.size())) return true;
    at = end + 1;
  }
  return false;
}

// A path that stays inside the bundle.
std::string inside(const std::string& path) {
  if (path.empty() || path.size() > kMostName || leaves(path) ||
      path.find_first_of(std::string("\\\0", 2)) != std::string::npos)
    wrong(text("file path ", json_text(path.substr(0, 40)), " leaves the bundle"));
  return path;
}

std::vector<int64_t> ids(const Json& of, const char* name) {
  std::vector<int64_t> found;
  for (const Json& id : list(of, name)) {
    if (!id.is_number_integer()) wrong(text(name, " are no token ids"));
    found.push_back(id.get<int64_t>());
  }
  return found;
}

Decoder decoder(const Json& of) {
  Decoder made{};
  made.n_layers = whole(of, "n_layers", 1, kMostLayers);
  made.width = whole(of, "width", 1, kMost);
  made.n_heads = whole(of, "n_heads", 1, kMost);
  made.n_kv_heads = whole(of, "n_kv_heads", 1, kMost);
  made.head_dim = whole(of, "head_dim", 1, kMost);
  made.ffn_width = whole(of, "ffn_width", 1, kMost);
  made.vocab_size = whole(of, "vocab_size", 1, kMost);
  made.max_positions = whole(of, "max_positions", 1, kMost);
  made.norm_eps = number(of, "norm_eps");
  made.embedding_scale = number(of, "embedding_scale");
  made.logit_scale = number(of, "logit_scale");
  if (!field(of, "logit_softcap").is_null()) made.logit_softcap = number(of, "logit_softcap");
  if (of.contains("attention_group") && !of["attention_group"].is_null())
    made.attention_group = whole(of, "attention_group", 2, kMost);
  return made;
}

AdapterSpec adapter(const Json& of) {
  AdapterSpec made{};
  made.kind = string(of, "kind"), made.json = written(of);
  made.rank = whole(of, "rank", 1, kMost), made.invocation = whole(of, "invocation", 1, kMost);
  made.blocks = of.contains("blocks") ? whole(of, "blocks", 1, 257) : 1;
  made.active = of.contains("active") ? whole(of, "active", 1, made.blocks + 1) : 1;
  const Json& targets = list(of, "targets");
  for (const char* point : kPoints)
    if (std::find(targets.begin(), targets.end(), Json(point)) != targets.end())
      made.points.push_back(point);
  if (made.points.empty() || made.points.size() != targets.size()) wrong("targets are unknown");
  return made;
}

TokenizerInfo tokenizer(const Json& of, int64_t vocabulary) {
  TokenizerInfo made{};
  if (!field(of, "bos_id").is_null()) made.bos = whole(of, "bos_id", 0, vocabulary);
  made.eos = ids(of, "eos_ids"), made.pad = whole(of, "pad_id", 0, vocabulary);
  if (!field(of, "add_bos").is_boolean()) wrong("add_bos is neither true nor false");
  made.add_bos = of["add_bos"].get<bool>();
  return made;
}

ProgramEntry program(const Json& of) {
  return {inside(string(of, "program")), inside(string(of, "data")), whole(of, "frame", 0, kMost)};
}

TableEntry table(const Json& of) {
  return {inside(string(of, "file")), whole(of, "offset", 0, int64_t{1} << 40),
          whole(of, "rows", 0, kMost), whole(of, "width", 0, kMost)};
}

Programs programs(const Json& of, int64_t n_layers) {
  Programs made{};
  made.version = string(of, "version");
  made.ends = inside(string(of, "ends")), made.factors = inside(string(of, "factors"));
  made.rows = whole(of, "rows", 1, kMost), made.head_rows = whole(of, "head_rows", 1, kMost);
  for (const Json& layer : list(of, "layers")) made.layers.push_back(program(layer));
  if (static_cast<int64_t>(made.layers.size()) != n_layers)
    wrong(text(made.layers.size(), " layer programs for ", n_layers, " layers"));
  made.head = program(field(of, "head"));
  made.embedding = table(field(of, "embedding")), made.head_table = table(field(of, "head_table"));
  for (const Json& name : list(of, "operators")) {
    if (!name.is_string()) wrong("an operator's name is no text");
    made.operators.push_back(name.get<std::string>());
  }
  return made;
}

// As dsa_edge/pruned.py tells it.
std::string pruned(const Json& of) {
  char share[16];
  std::snprintf(share, sizeof share, "%.1f%%", 100 * number(of, "share"));
  const Json &groups = list(of, "kv_groups"), &blocks = list(of, "ffn_blocks");
  if (groups.empty() || blocks.empty()) wrong("nothing is left of the base");
  return text("a base pruned by ", share, " (", groups[0].size(), " of ",
              whole(of, "n_kv_heads", 1, kMost), " KV groups and ", 32 * blocks[0].size(), " of ",
              whole(of, "ffn_width", 1, kMost), " neurons a layer, by ", string(of, "by"), ")");
}

ChatTurn chat_turn(const Json& of) {
  if (!of.is_object() || !field(of, "filled").is_boolean()) wrong("a turn of its chats");
  const std::string trim = string(of, "trim");
  const bool both = trim == "both", left = both || trim == "left", right = both || trim == "right";
  if (!left && !right && !trim.empty()) wrong("how its chats are trimmed");
  return {string(of, "after"),     string(of, "role"), string(of, "before"), left, right,
          of["filled"].get<bool>()};
}

ChatParts chat(const Json& of) {
  ChatParts made;
  for (const Json& turn : list(of, "turns")) made.turns.push_back(chat_turn(turn));
  for (const auto& [role, end] : object(of, "ends").items())
    made.ends[role] = string(of["ends"], role.c_str());
  for (const Json& other : list(of, "without")) {
    if (!other.is_string() || other == "") wrong("what its chats are without");
    made.without.push_back(other.get<std::string>());
  }
  return made;
}

std::map<std::string, FileEntry> files(const Json& of) {
  std::map<std::string, FileEntry> made;
  for (const auto& [name, entry] : of.items())
    made[inside(name)] = {string(entry, "sha256"), whole(entry, "bytes", 0, int64_t{1} << 50)};
  return made;
}

Slot slot(const Json& of, int64_t expected) {
  if (!of.is_array() || of.size() != 3 || !of[0].is_string() || !of[2].is_array() ||
      of[1] != Json(expected))
    wrong("its slots are not in order");
  Slot made{of[0].get<std::string>(), expected, {}};
  for (const Json& side : of[2]) {
    if (!side.is_number_unsigned() || side.get<uint64_t>() >= uint64_t(kMost))
      wrong("a slot's shape");
    made.shape.push_back(side.get<size_t>());
  }
  return made;
}

}  // namespace

class ManifestReader {
 public:
  static Manifest read(const Json& of) {
    Manifest made;
    made.identity = string(of, "identity");
    const Json& base = object(of, "base");
    made.base_name = string(base, "name"), made.quantization = string(base, "quantization");
    if (base.contains("licence") && base["licence"].is_string())
      made.licence = base["licence"].get<std::string>();
    made.decoder = decoder(object(of, "decoder"));
    made.adapter = adapter(object(of, "adapter"));
    made.tokenizer = tokenizer(object(of, "tokenizer"), made.decoder.vocab_size);
    made.files = files(object(of, "files"));
    const Json& golden = object(of, "golden");
    made.golden = {string(golden, "prompt"), ids(golden, "prompt_ids"),
                   ids(golden, "expected_ids")};
    made.has_onnx = !object(of, "methods").empty();
    if (!field(of, "executorch").is_null())
      made.programs = programs(object(of, "executorch"), made.decoder.n_layers);
    made.defaults = of.contains("defaults") ? written(object(of, "defaults")) : "{}";
    if (of.contains("pruned") && !of["pruned"].is_null())
      made.pruned = pruned(object(of, "pruned"));
    if (of.contains("start") && !of["start"].is_null())
      made.start = StartInfo{string(of["start"], "id"), whole(of["start"], "directions", 0, kMost)};
    if (of.contains("chat") && !of["chat"].is_null()) made.chat = chat(object(of, "chat"));
    layout(made, of);
    return made;
  }

 private:
  static void layout(Manifest& made, const Json& of) {
    const double share = number(object(of, "adapter"), "split");
    if (!(share >= 0 && share < 1)) wrong(text("split is ", share));
    const auto n_layers = static_cast<double>(made.decoder.n_layers);
    made.split_ =
        std::min(static_cast<int64_t>(std::floor(share * n_layers)), made.decoder.n_layers - 1);
    for (const Json& entry : list(of, "slots")) {
      made.slots.push_back(slot(entry, made.size_));
      int64_t size = 1;
      for (const size_t side : made.slots.back().shape)
        if ((size *= static_cast<int64_t>(side)) > kMostNumbers) wrong("a slot is too large");
      made.size_ += size;
      if (made.size_ > kMostNumbers) wrong("the adapter is too large");
    }
    const auto count = static_cast<int64_t>(made.slots.size());
    if (count == 0 || count % made.adapted() || made.size_ % made.adapted())
      wrong("its slots do not belong to its layers");
  }
};

namespace {

// Refuses what is no manifest, or of another version, before anything of it is believed.
Json opened(const std::string& content, const std::string& path) {
  const Json of = object_of(content);
  const auto schema = of.find("schema");
  if (schema == of.end() || *schema != Json(kSchema))
    throw Error(Kind::bundle,
                text(path, " has schema version ",
                     schema == of.end() ? "none" : written(*schema).substr(0, 20),
                     ", this dsa_runner reads version ", kSchema,
                     ": export the bundle again or install the matching dsa_runner."));
  return of;
}

void check_sum(const Json& of, const std::string& content, const std::string& path) {
  const std::string told = canonical(content, "checksum");
  uint8_t digest[16];
  learn::blake2b(told.data(), told.size(), nullptr, 0, digest, sizeof digest);
  std::string hex;
  for (const uint8_t byte : digest)
    hex += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  if (of.find("checksum") == of.end() || of["checksum"] != Json(hex))
    throw Error(Kind::bundle,
                text(path,
                     " does not match its own checksum, or has none, so it was edited or "
                     "damaged: copy the bundle again or export it anew."));
}

}  // namespace

Manifest Manifest::read(const std::string& content, const std::string& path) {
  try {
    const Json of = opened(content, path);
    check_sum(of, content, path);
    return ManifestReader::read(of);
  } catch (const Broken& error) {
    throw Error(Kind::bundle, text(path, " is not a valid manifest (", error.what(),
                                   "): copy the bundle again or export it anew."));
  } catch (const nlohmann::json::exception& error) {
    throw Error(Kind::bundle, text(path, " is not a valid manifest (", error.what(),
                                   "): copy the bundle again or export it anew."));
  }
}

}  // namespace dsa
