"""What deny.toml asks of Cargo.lock, as far as `cargo metadata` tells it, for machines without cargo-deny.

Licences are on the list, every crate is from crates.io, and the engine is there once. Advisories need cargo-deny.
"""

import json
import re
import subprocess
import sys
import tomllib

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
allowed = set(rules["licenses"]["allow"])
registries = set(rules["sources"]["allow-registry"])
metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
        + [part for target in rules["graph"]["targets"] for part in ("--filter-platform", target)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
)


def is_allowed(expression):
    """An SPDX expression of AND, OR, WITH and parentheses; a slash is an old way to write OR."""
    expression = re.sub(r"\s+WITH\s+[\w.-]+", "", expression.replace("/", " OR "))
    words = re.findall(r"\(|\)|AND|OR|[\w.+-]+", expression)
    python = " ".join(
        {"AND": "and", "OR": "or", "(": "(", ")": ")"}.get(word, str(word in allowed)) for word in words
    )
    return bool(eval(python, {"__builtins__": {}}))  # Nothing but True, False, and, or and parentheses.


problems = []
versions = {}
for package in metadata["packages"]:
    name = f"{package['name']} {package['version']}"
    versions.setdefault(package["name"], []).append(package["version"])
    if package["source"] is None:
        continue
    if package["source"].removeprefix("registry+") not in registries:
        problems.append(f"{name} comes from {package['source']}")
    exceptions = [e for e in rules["licenses"].get("exceptions", []) if (e.get("crate") or e.get("name")) == package["name"]]
    granted = {licence for exception in exceptions for licence in exception["allow"]}
    licence = package["license"] or ""
    if licence not in granted and not (licence and is_allowed(licence)):
        problems.append(f"{name} has the licence {licence or 'of a file'!r}, which deny.toml does not allow")
for ban in rules["bans"]["deny"]:
    name = ban.get("crate") or ban.get("name")
    found = versions.get(name, [])
    if ban.get("deny-multiple-versions"):
        if len(set(found)) > 1:
            problems.append(f"{name} is there in versions {', '.join(sorted(found))}")
    elif found:
        problems.append(f"{name} is banned: {ban.get('reason', '')}")
print("\n".join(problems) or f"{len(metadata['packages'])} crates: licences, sources and bans are as deny.toml asks")
sys.exit(bool(problems))
