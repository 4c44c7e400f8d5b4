"""What a device tells of itself: a script of POSIX sh that reads Linux's files, and its answer.

The same script runs on this machine, over ssh on a board and over adb on a phone, whose shells have
little more than cat. What a device does not have is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["FACTS", "READING", "Reading", "parse_facts", "parse_reading"]

# Lines of "kind<tab>name<tab>values". Values are as the files have them: m°C, kHz, mV, mA, mW.
READING = r"""
say() { printf '%s\t%s\t%s\n' "$1" "$2" "$3"; }
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] && say zone "$(cat "$zone/type")" "$(cat "$zone/temp")"
done
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  [ -r "$cpu/cpufreq/scaling_cur_freq" ] && say clock "${cpu##*/}" \
    "$(cat "$cpu/cpufreq/scaling_cur_freq") $(cat "$cpu/cpufreq/scaling_max_freq")"
done
for chip in /sys/class/hwmon/hwmon*; do
  [ "$(cat "$chip/name")" = ina3221 ] || continue
  for rail in 1 2 3; do
    [ -r "$chip/in${rail}_label" ] && [ -r "$chip/curr${rail}_input" ] && \
      say rail "$(cat "$chip/in${rail}_label")" \
        "$(cat "$chip/in${rail}_input") $(cat "$chip/curr${rail}_input")"
  done
done
for chip in /sys/bus/i2c/drivers/ina3221x/*/iio:device*; do
  for rail in 0 1 2; do
    [ -r "$chip/in_power${rail}_input" ] && say watts "$(cat "$chip/rail_name_${rail}")" \
      "$(cat "$chip/in_power${rail}_input")"
  done
done
true
"""

FACTS = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
say machine "$(uname -m)"
say system "$(uname -sr)"
say cores "$(grep -c '^processor' /proc/cpuinfo)"
[ -r /proc/device-tree/model ] && say model "$(tr -d '\000' < /proc/device-tree/model)"
[ -r /etc/nv_tegra_release ] && say release "$(head -n 1 /etc/nv_tegra_release)"
command -v getprop > /dev/null && say model "$(getprop ro.product.model)" && \
  say release "Android $(getprop ro.build.version.release)"
command -v nvpmodel > /dev/null && say power "$(nvpmodel -q | grep -i 'power mode' | head -n 1)"
[ -r /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor ] && \
  say governor "$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
grep -E '^(model name|Hardware)' /proc/cpuinfo | head -n 1 | sed 's/.*: /processor\t/'
true
"""

HOTTEST = 150.0  # °C; a zone beyond has no working sensor
NAMES = ("machine", "system", "cores", "model", "release", "power", "governor", "processor")
LONGEST = 200  # characters of a fact: what a device tells goes into reports


@dataclass(frozen=True)
class Reading:
    """A device now: °C of each zone, MHz now and at most of each core, mW of each rail."""

    zones: dict[str, float] = field(default_factory=dict)
    clocks: dict[str, tuple[float, float]] = field(default_factory=dict)
    rails: dict[str, float] = field(default_factory=dict)

    @property
    def celsius(self) -> float | None:
        """The hottest zone; a Jetson's PMIC-Die says 100 °C whatever it is."""
        known = [c for name, c in self.zones.items() if not name.upper().startswith("PMIC")]
        return max(known, default=None)

    @property
    def mhz(self) -> float | None:
        """The slowest core's clock now."""
        return min((now for now, _ in self.clocks.values()), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        clocks = {name: {"now": now, "most": most} for name, (now, most) in self.clocks.items()}
        return {
            "celsius": self.zones, "mhz": clocks, "milliwatts": self.rails,
            "celsius_most": self.celsius, "mhz_least": self.mhz,
        }  # fmt: skip


def parse_facts(text: str) -> dict[str, str]:
    """What a device is, by the names of `NAMES`; anything else is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("\t")
        if name in NAMES and value.strip():
            found.setdefault(name, value.strip()[:LONGEST])
    if "power" in found:  # "NV Power Mode: MAXN"
        found["power"] = found["power"].rpartition(":")[2].strip()
    return found


def parse_reading(text: str) -> Reading:
    """A reading; lines that are not of this form, or hold no numbers, are left out."""
    reading = Reading()
    for line in text.splitlines():
        kind, _, rest = line[:LONGEST].partition("\t")
        name, _, values = rest.partition("\t")
        numbers = _numbers(values)
        if not name or numbers is None:
            continue
        if kind == "zone" and len(numbers) == 1 and abs(numbers[0]) <= 1e3 * HOTTEST:
            hotter = max(numbers[0] / 1e3, reading.zones.get(name, -HOTTEST))
            reading.zones[name] = hotter  # several zones may share a name
        elif kind == "clock" and len(numbers) == 2:
            reading.clocks[name] = numbers[0] / 1e3, numbers[1] / 1e3
        elif kind == "rail" and len(numbers) == 2:
            reading.rails[name] = numbers[0] * numbers[1] / 1e3
        elif kind == "watts" and len(numbers) == 1:
            reading.rails[name] = numbers[0]
    return reading


def _numbers(text: str) -> list[float] | None:
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        return None
    return found if all(abs(number) < 1e12 for number in found) else None
