// What must go when examples are forgotten: all that may have learned from them.
//
// What a damaged row said is not known, so it is taken to have been the worst that it could be.
#include <algorithm>

#include "store.h"

namespace dsa::learn {

void Store::forget() {
  db_.transaction([&] {
    for (const char* table : {"DELETE FROM versions", "DELETE FROM runs", "DELETE FROM journal",
                              "DELETE FROM examples"})
      db_.run(table);
    start_over(vault_);
  });
  db_.shrink();
}

std::vector<int64_t> Store::forget_examples(const std::vector<std::string>& ids) {
  const std::set<std::string> examples(ids.begin(), ids.end());
  for (const std::string& id : examples)
    if (id.size() != 2 * kIdBytes || id.find_first_not_of("0123456789abcdef") != id.npos)
      throw Error(Kind::usage, text("'", id, "' is no id of an example, expected ", 2 * kIdBytes,
                                    " hex digits: `example_id` tells it."));
  Gone gone;
  db_.transaction([&] {
    const std::vector<Run> fits = runs();
    const std::vector<Version> all = versions();
    const Parents parents = parents_of(all, fits);
    gone = learned_from(examples, fits, all);
    int64_t active = in_use().first;
    while (active && (gone.versions.count(active) || !has(active)))
      active = before(active, parents);
    for (const int64_t id : gone.versions)
      db_.statement("DELETE FROM versions WHERE id = ?").bind(id).run();
    for (const int64_t id : gone.fits)
      db_.statement("DELETE FROM runs WHERE id = ?").bind(id).run();
    db_.run("DELETE FROM journal WHERE run NOT IN (SELECT id FROM runs)");
    drop_examples(examples);
    use(active);
  });
  db_.shrink();
  return {gone.versions.begin(), gone.versions.end()};
}

// What each version was learned from; of a damaged one, what its fit says, or nothing.
Store::Parents Store::parents_of(const std::vector<Version>& versions,
                                 const std::vector<Run>& runs) {
  std::map<int64_t, std::optional<int64_t>> made;
  for (const Run& run : runs)
    if (run.version) made[*run.version] = run.parent;
  Parents parents;
  for (const Version& version : versions)
    parents[version.id] = version.parent ? version.parent : made[version.id];
  return parents;
}

// What a version was learned from, or the newest one before it where that is not known.
int64_t Store::before(int64_t version, const Parents& parents) {
  const auto found = parents.find(version);
  const std::optional<int64_t> parent = found == parents.end() ? std::nullopt : found->second;
  if (parent && 0 <= *parent && *parent < version) return *parent;
  int64_t newest = 0;
  bool any = false;
  for (const auto& [known, _] : parents)
    if (known < version && (!any || known > newest)) newest = known, any = true;
  return newest;
}

Store::Gone Store::learned_from(const std::set<std::string>& examples, const std::vector<Run>& runs,
                                const std::vector<Version>& versions) {
  const auto used = [&](const Run& run) {
    return run.damaged() || std::any_of(run.examples.begin(), run.examples.end(),
                                        [&](const std::string& id) { return examples.count(id); });
  };
  Gone gone;
  std::set<int64_t> known;  // versions that some fit is known to have made, or that were loaded
  bool unknown = false;     // whether a fit that may have used them does not tell what it made
  for (const Run& run : runs) {
    if (run.version) known.insert(*run.version);
    if (!used(run)) continue;
    gone.fits.insert(run.id);
    if (run.version && *run.version) gone.versions.insert(*run.version);
    unknown = unknown || !run.seed;
  }
  for (const Version& version : versions)
    if (version.verdict == "loaded") known.insert(version.id);
  const Parents parents = parents_of(versions, runs);
  for (const auto& [version, parent] : parents) {  // what comes from another has a higher id
    const bool orphan = !gone.fits.empty() && !parent;
    if (orphan || (unknown && !known.count(version)) || (parent && gone.versions.count(*parent)))
      gone.versions.insert(version);
  }
  for (const Run& run : runs)
    if (run.parent && gone.versions.count(*run.parent)) gone.fits.insert(run.id);
  return gone;
}

}  // namespace dsa::learn
