"""What can be proven of android_demo/ without a phone; each skips with the tool that is missing."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from android_scripts import ROOT, run

sys.path.insert(0, str(ROOT / "scripts"))
from zipalign16 import align, misaligned

APP = ROOT / "app/src/main"


def test_the_java_border_and_the_apps_logic_on_a_jvm(core: tuple[Path, str]) -> None:
    _, said = core
    assert said.splitlines()[-1].endswith(" passed, 0 failed")
    assert "passed PersonalizerTest.learnsChoosesAndRollsBack" in said
    assert "WARNING" not in said  # of -Xcheck:jni


def test_the_apk_keeps_what_android_and_we_promise(apk: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/check_apk.py", apk], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  ") == 7


def test_the_shipped_dex_and_library_do_as_the_sources(apk: Path, tmp_path: Path) -> None:
    said = run("test_dex.sh", apk, tmp_path / "dex")
    assert said.splitlines()[-1].endswith(" passed, 0 failed")


@pytest.mark.parametrize("entry", ["lib/arm64-v8a/libdsaedge.so", "AndroidManifest.xml"])
def test_a_changed_apk_is_found_out(apk: Path, tmp_path: Path, entry: str) -> None:
    changed = tmp_path / "changed.apk"
    with zipfile.ZipFile(apk) as old, zipfile.ZipFile(changed, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item, content[:-1] + b"?" if item.filename == entry else content)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/check_apk.py", changed], capture_output=True, text=True
    )
    assert done.returncode == 1


def test_alignment_survives_names_of_any_length(tmp_path: Path) -> None:
    source, target = tmp_path / "a.apk", tmp_path / "b.apk"
    with zipfile.ZipFile(source, "w") as archive:
        for length in range(1, 40):
            archive.writestr("n" * length, b"x" * length)
            archive.writestr("l" * length + ".so", b"y" * length)
    assert misaligned(str(source))
    align(str(source), str(target))
    assert not misaligned(str(target))
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 78


def test_no_permission_is_asked_for() -> None:
    for manifest in ROOT.glob("*/src/main/AndroidManifest.xml"):
        assert "uses-permission" not in manifest.read_text()


def test_every_string_is_in_the_resources() -> None:
    names = {item.get("name") for item in ET.parse(APP / "res/values/strings.xml").getroot()}
    used = set(words_after("R.string.")) | set(words_after("@string/"))
    assert used == names  # none is missing, none is left over


def test_core_knows_no_android_and_dexed_code_no_lambdas() -> None:
    for source in (ROOT / "core/src/main/java").rglob("*.java"):
        assert "import android" not in source.read_text(), source
    for source in ROOT.rglob("*.java"):
        text = source.read_text()
        assert " -> " not in code(text), f"{source}: dx 10 knows no lambdas"
        assert "java.nio.file" not in text, f"{source}: Android has it from 8 on only"


def test_java_and_c_give_errors_the_same_numbers() -> None:
    header = (ROOT.parent / "runtime/native/include/dsa/runner.h").read_text()
    java = (ROOT / "core/src/main/java/dev/dsaedge/Native.java").read_text()
    statuses = header[header.index("enum dsa_status") : header.index("} dsa_status")]
    wanted = {
        int(n): name.replace("_", "") for name, n in re.findall(r"DSA_(\w+) = (\d+)", statuses)
    }
    cases = re.findall(r"case (\d+):\s+return new (\w+)Exception", java)
    for number, name in cases:
        assert wanted.pop(int(number)).removesuffix("ED") == name.upper().removesuffix("ED")
    assert set(wanted.values()) == {"OK", "INTERNAL"}  # without a type of their own


def test_an_app_that_is_shrunk_and_renamed_still_learns(
    core: tuple[Path, str], apk: Path, tmp_path: Path
) -> None:
    said = run("check_rules.sh", core[0], apk.parent / "tools", tmp_path / "rules").splitlines()
    assert said[-2] == "improved, 1, 3"
    assert "there is no such version" in said[-1]  # errors find their way as well


@pytest.mark.slow
def test_the_sdk_compiles_and_its_flows_run(
    core: tuple[Path, str], apk: Path, tmp_path: Path
) -> None:
    kept = ROOT / "build/sdk/package"  # 90 MB: `make apk` has fetched them, CI does not
    if not kept.is_dir():
        pytest.skip("the Kotlin compiler is not here: `make apk` fetches it")
    shutil.copytree(kept, tmp_path / "sdk/package", copy_function=shutil.copy)
    said = run("check_sdk.sh", core[0], apk.parent / "tools", tmp_path / "sdk")
    assert said.splitlines()[-1] == "11 passed, 0 failed"


def words_after(prefix: str) -> Iterator[str]:
    """Identifiers after a prefix in the app's sources and resources."""
    for pattern in ("*.java", "*.xml"):
        for file in APP.rglob(pattern):
            for part in file.read_text().split(prefix)[1:]:
                word = ""
                for letter in part:
                    if not (letter.isalnum() or letter == "_"):
                        break
                    word += letter
                yield word


def code(java: str) -> str:
    """Java without its comments."""
    lines = (line.split("//")[0] for line in java.splitlines())
    return "\n".join(line for line in lines if not line.strip().startswith(("*", "/*")))
