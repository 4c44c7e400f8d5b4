// The fits of a store, and every step of theirs.
#include <algorithm>
#include <charconv>

#include "store.h"

namespace dsa::learn {
namespace {

constexpr size_t kKept = 32;  // fits whose steps a store holds

std::string place(int64_t run, const char* column) {
  return "runs/" + std::to_string(run) + "/" + column;
}

// `journal/RUN/FIRST`, without allocating once the text has room.
void write_place(int64_t run, size_t first, std::string& out) {
  char digits[48];
  char* end = std::to_chars(digits, digits + 24, run).ptr;
  *end++ = '/';
  end = std::to_chars(end, digits + sizeof digits, first).ptr;
  out.assign("journal/").append(digits, end);
}

std::string step_place(int64_t run, size_t first) {
  std::string place;
  write_place(run, first, place);
  return place;
}

size_t numbers_in(const std::vector<Floats>& parts) {
  size_t count = 0;
  for (const Floats& part : parts) count += part.size();
  return count;
}

}  // namespace

int64_t Store::start_run(Run begun) {
  db_.transaction([&] {
    compact_interrupted();
    drop_steps();
    begun.id = next_id("SELECT coalesce(max(id), 0) + 1 FROM runs");
    begun.created = now();
    std::string all;
    for (const std::string& id : begun.examples) all += id;
    const Bytes ids = from_hex(all);
    const Bytes packed = vault_.pack(ids.data(), ids.size(), place(begun.id, "examples"));
    db_.statement("INSERT INTO runs VALUES (?, x'', ?)").bind(begun.id).bind(packed).run();
    keep_run(begun);
  });
  next_ = 0;
  return begun.id;
}

void Store::compact_interrupted() {
  for (Run& run : runs()) {
    if (run.verdict || run.numbers) continue;
    run.numbers = compact(run, std::nullopt);
    keep_run(run);
  }
}

// Of the oldest fits keep no steps, so that a store does not grow with every fit.
void Store::drop_steps() {
  std::vector<Run> all = runs();
  for (size_t i = 0; i + kKept - 1 < all.size(); ++i) {
    Run& old = all[i];
    if (!old.numbers.value_or(0) || old.damaged()) continue;
    db_.statement("DELETE FROM journal WHERE run = ?").bind(old.id).run();
    old.numbers = 0;
    keep_run(old);
  }
}

void Store::append(int64_t run, float rate, const float* scalars, size_t count) {
  db_.guarded([&] {
    row_.assign(1, rate);
    row_.insert(row_.end(), scalars, scalars + count);
    write_place(run, next_, place_);
    const Bytes& blob = vault_.pack_floats(row_.data(), row_.size(), place_);
    if (!append_) append_.emplace(db_.statement("INSERT INTO journal VALUES (?, ?, ?)"));
    append_->bind(run).bind(static_cast<int64_t>(next_)).bind(blob).run();
    ++next_;
  });
}

void Store::go_on(size_t steps) { next_ = steps; }

std::optional<int64_t> Store::end_run(int64_t id, const std::string& verdict, const Made* made,
                                      const std::string& privacy) {
  return db_.transaction([&] {
    Run ended = run(id);
    ended.verdict = verdict, ended.privacy = privacy;
    if (made) {
      ended.version =
          add(ended.parent.value_or(0), made->adapter, verdict, made->kept, made->summary);
      ended.kept = made->kept;
    }
    ended.numbers = compact(ended, next_);
    if (ended.version && ended.directions.empty()) ended.gate.clear();
    keep_run(ended);
    return ended.version;
  });
}

Run Store::run(std::optional<int64_t> id) {
  std::vector<Run> all = runs();
  const auto found =
      std::find_if(all.rbegin(), all.rend(), [&](const Run& run) { return !id || run.id == *id; });
  if (found == all.rend())
    throw Error(Kind::store, "the journal holds no such fit: `personalize` makes one.");
  return *found;
}

std::vector<Run> Store::runs() {
  return db_.guarded([&] {
    std::vector<Run> found;
    Statement rows = db_.statement("SELECT id, record, examples FROM runs ORDER BY id");
    while (rows.row()) found.push_back(read_run_row(rows.whole(0), rows.blob(1), rows.blob(2)));
    return found;
  });
}

Run Store::read_run_row(int64_t row, const Bytes& record, const Bytes& examples) {
  auto told = whole([&] { return read_run(row, vault_.unpack(record, place(row, "record"))); });
  const auto ids = whole([&] { return vault_.unpack(examples, place(row, "examples")); });
  Run run = told ? *std::move(told) : Run();
  run.id = row;
  if (!told || !ids) {
    run.verdict = kDamaged;
    return run;
  }
  for (size_t at = 0; at < ids->size(); at += kIdBytes) {
    const std::string id = ids->substr(at, kIdBytes);
    run.examples.push_back(hex(Bytes(id.begin(), id.end())));
  }
  return run;
}

std::vector<Step> Store::journal(const Run& run) {
  return db_.guarded([&] {
    const std::vector<Floats> parts = steps(run.id);
    if (lacks(run, parts)) throw Broken(text("steps of fit ", run.id, " are missing"));
    const int64_t scalars = run.width ? *run.width : Hyperparameters::read(run.hyper).queries;
    if (scalars < 1 || scalars > 1 << 24) throw Broken("a journal of no width");
    const size_t width = 1 + static_cast<size_t>(scalars);
    std::vector<Step> journal;
    for (const Floats& part : parts) {
      if (part.size() % width) throw Broken(text("a journal's rows are not ", width, " numbers"));
      for (auto row = part.begin(); row != part.end(); row += static_cast<std::ptrdiff_t>(width))
        journal.push_back({*row, Floats(row + 1, row + static_cast<std::ptrdiff_t>(width))});
    }
    return journal;
  });
}

// Whether rows of a journal are missing at its end.
bool Store::lacks(const Run& run, const std::vector<Floats>& parts) {
  if (run.numbers) return *run.numbers != static_cast<int64_t>(numbers_in(parts));
  // A row of a fit that does not exist may be one of these: its key has changed.
  return db_.statement("SELECT 1 FROM journal WHERE run NOT IN (SELECT id FROM runs)").row();
}

void Store::keep_run(const Run& run) {
  const Bytes& record = vault_.pack(record_of(run), place(run.id, "record"));
  db_.statement("UPDATE runs SET record = ? WHERE id = ?").bind(record).bind(run.id).run();
}

// One row for all steps of a fit: a row for each takes three times the room.
// steps: how many there should be. Returns how many numbers they are; none where some are damaged.
std::optional<int64_t> Store::compact(const Run& run, std::optional<size_t> steps) {
  const auto rows = whole([&] { return this->steps(run.id); });
  if (!rows || (steps ? *steps != rows->size() : lacks(run, *rows))) return std::nullopt;
  if (rows->size() > 1) {
    Floats all;
    for (const Floats& row : *rows) all.insert(all.end(), row.begin(), row.end());
    const Bytes blob = vault_.pack_floats(all.data(), all.size(), step_place(run.id, 0));
    db_.statement("DELETE FROM journal WHERE run = ?").bind(run.id).run();
    db_.statement("INSERT INTO journal VALUES (?, 0, ?)").bind(run.id).bind(blob).run();
  }
  return static_cast<int64_t>(numbers_in(*rows));
}

// The rows of a journal: one of all steps, or one of each, without a gap.
std::vector<Floats> Store::steps(int64_t run) {
  std::vector<Floats> rows;
  Statement found = db_.statement("SELECT first, steps FROM journal WHERE run = ? ORDER BY first");
  found.bind(run);
  while (found.row()) {
    if (found.whole(0) != static_cast<int64_t>(rows.size()))
      throw Broken(text("steps of fit ", run, " are missing"));
    rows.push_back(vault_.unpack_floats(found.blob(1), step_place(run, rows.size())));
  }
  return rows;
}

}  // namespace dsa::learn
