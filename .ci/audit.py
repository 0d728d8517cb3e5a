#!/usr/bin/env python3
"""Every version in constraints.txt, looked up among known vulnerabilities: `make audit`.

pip-audit ends well where its service knows none of the packages, for it leaves out what it cannot
look up. Here that is a failure: what was not looked up is not sound.

Exit status 0 nothing is known against any, 1 something is, 2 not all could be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_NAMED = 5


def main(pip_audit: str) -> int:
    """Run pip-audit, then say what came out."""
    command = [pip_audit, "--requirement", str(ROOT / "constraints.txt"), "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return _not_done(f"pip-audit did not finish: {reason[0][:300]}")
    return report(found)


def report(dependencies: list[dict[str, object]]) -> int:
    """Say what is known of the dependencies, as pip-audit's JSON lists them; the exit status."""
    skipped = [str(each["name"]) for each in dependencies if "skip_reason" in each]
    vulnerable = [each for each in dependencies if each.get("vulns")]
    for each in vulnerable:
        for vuln in each["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(vuln["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {vuln['id']}, mended in {fixed}")
    if vulnerable:
        print(
            f"audit: {len(vulnerable)} of {len(dependencies)} packages are known to be vulnerable"
        )
        return 1
    if skipped:
        names = ", ".join(skipped[:MOST_NAMED]) + (", …" if len(skipped) > MOST_NAMED else "")
        return _not_done(
            f"{len(skipped)} of {len(dependencies)} packages are unknown to it: {names}"
        )
    print(f"audit: nothing is known against any of {len(dependencies)} packages")
    return 0


def _not_done(why: str) -> int:
    print(
        f"audit: NOT DONE, nothing is known of the dependencies: {why}\n"
        "audit: it asks PyPI's JSON API for vulnerabilities, which a mirror or proxy of the index "
        "does not have; run it where https://pypi.org can be reached",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
