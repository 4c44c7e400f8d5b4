// manifest.json: what a device must know about a bundle before it loads a model (docs/format.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dsa {

constexpr int kSchema = 2;

struct FileEntry {
  std::string sha256;
  int64_t bytes;
};

// The sizes of the decoder and what its ends compute; docs/format.md has the rest.
struct Decoder {
  int64_t n_layers, width, n_heads, n_kv_heads, head_dim, ffn_width, vocab_size, max_positions;
  double norm_eps, embedding_scale, logit_scale;
  std::optional<double> logit_softcap;
  int64_t attention_group = 0;  // tokens that shifted sparse attention takes together; 0 for none
};

struct TokenizerInfo {
  std::optional<int64_t> bos;
  std::vector<int64_t> eos;
  int64_t pad;
  bool add_bos;
};

// What carries the adapter; points in the order of the slots.
struct AdapterSpec {
  std::string kind, json;  // json: the layout, as adapter files tell it
  int64_t rank, invocation, blocks, active;
  std::vector<std::string> points;

  // Kinds whose op routes take cores and factors; the others their slots (dsa_edge/kinds.py).
  bool gated() const { return kind == "core" || kind == "diagonal"; }
};

struct Slot {
  std::string name;
  int64_t offset;
  std::vector<size_t> shape;
};

struct ProgramEntry {
  std::string program, data;
  int64_t frame;
};

struct TableEntry {
  std::string file;
  int64_t offset, rows, width;
};

// How ExecuTorch runs the bundle.
struct Programs {
  std::string version, ends, factors;
  int64_t rows, head_rows;
  std::vector<ProgramEntry> layers;
  ProgramEntry head;
  TableEntry embedding, head_table;
  std::vector<std::string> operators;
};

struct Golden {
  std::string prompt;
  std::vector<int64_t> prompt_ids, expected_ids;
};

// The id of a learned start, and how many directions it has.
struct StartInfo {
  std::string id;
  int64_t directions;
};

// What stands before a message of one role behind one of another, "" where the chat begins; on
// which sides its content loses white space, and whether something must be left of it.
struct ChatTurn {
  std::string after, role, before;
  bool left, right, filled;
};

// A chat template in parts: what follows the last message by its role, and texts that contents
// must not hold (dsa_edge/chat.py).
struct ChatParts {
  std::vector<ChatTurn> turns;
  std::map<std::string, std::string> ends;
  std::vector<std::string> without;
};

struct Manifest {
  std::string identity, base_name, licence, quantization;
  Decoder decoder;
  AdapterSpec adapter;
  TokenizerInfo tokenizer;
  std::map<std::string, FileEntry> files;
  std::vector<Slot> slots;
  Golden golden;
  std::optional<Programs> programs;
  std::optional<StartInfo> start;
  std::optional<ChatParts> chat;
  std::string defaults;  // JSON of what `dsa-edge tune` found, "{}" for nothing
  std::string pruned;    // what was left out of the base, in words; "" of a whole one
  bool has_onnx = false;

  int64_t split() const { return split_; }
  int64_t adapted() const { return decoder.n_layers - split_; }
  int64_t adapter_size() const { return size_; }
  int64_t layer_size() const { return size_ / adapted(); }  // numbers of one adapted layer

  // From the text of the file; path names it. Raises Error(bundle), saying what to do.
  static Manifest read(const std::string& content, const std::string& path);

 private:
  friend class ManifestReader;
  int64_t split_ = 0, size_ = 0;
};

}  // namespace dsa
