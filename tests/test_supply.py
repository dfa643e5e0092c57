"""What is installed is what was locked; what is known of it is answered; its licences are listed."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests import audit, supply
from tests.audit import Answer, Audit, Finding

TODAY = date(2026, 11, 28)
FINDING = Finding(
    package="flower", version="1.0", names=frozenset({"PYSEC-1", "CVE-1"}), mended_in=("1.1",)
)
ANSWER = Answer(id="CVE-1", package="flower", why="Nobody reaches it.", until=date(2026, 12, 31))


@pytest.mark.parametrize("file", audit.REQUIREMENTS, ids=lambda file: file.name)
def test_every_requirement_is_pinned_with_a_hash_and_no_address_of_a_registry(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith(" ")]

    assert len(lines) > 40
    assert all("==" in line and line.endswith(" \\") for line in lines)
    assert file.read_text().count("--hash=sha256:") >= len(lines)
    assert "://" not in file.read_text()


def test_the_versions_of_both_files_agree() -> None:
    runtime, development = (supply.pinned(file) for file in audit.REQUIREMENTS)

    assert runtime.items() <= development.items()


def test_make_installs_nothing_without_its_hash() -> None:
    installs = [
        line for line in (supply.ROOT / "Makefile").read_text().splitlines() if "pip install" in line
    ]

    assert len(installs) == 2
    assert all(" --require-hashes -r requirements" in line for line in installs)


def test_a_file_that_is_not_the_locked_one_is_not_installed(tmp_path: Path) -> None:
    """Asked of pip itself, without a network: the hash of a wheel that was changed."""
    other = tmp_path / "six-1.17.0-py2.py3-none-any.whl"
    other.write_bytes(b"PK\x05\x06" + bytes(18))
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")

    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--isolated", "--no-index", "--find-links",
            str(tmp_path), "--target", str(tmp_path / "there"), "--require-hashes", "-r", str(wanted),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_bill_of_materials_names_everything_that_is_installed(tmp_path: Path) -> None:
    supply.write_bill(tmp_path / "bill.json")

    bill = json.loads((tmp_path / "bill.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {each["name"]: each["version"] for each in bill["components"]}
    assert supply.pinned().items() <= named.items()


def test_the_list_of_licences_is_that_of_what_is_installed() -> None:
    """`make bom` writes it."""
    assert supply.LICENCES.read_text() == supply.licences()
    assert "UNKNOWN" not in supply.licences()


@pytest.mark.parametrize(
    ("findings", "written", "says", "good"),
    [
        pytest.param((), (), "", True, id="nothing is known"),
        pytest.param((FINDING,), (), "no answer in audit-answers.toml", False, id="no answer"),
        pytest.param((FINDING,), (ANSWER,), "answered: Nobody reaches it.", True, id="an answer"),
        pytest.param(
            (FINDING,),
            (Answer(id="CVE-1", package="celery", why="-", until=TODAY),),
            "no answer",
            False,
            id="an answer about another package",
        ),
        pytest.param(
            (FINDING,),
            (Answer(id="CVE-1", package="flower", why="-", until=date(2026, 11, 27)),),
            "was good until 2026-11-27",
            False,
            id="an answer whose day is over",
        ),
        pytest.param((), (ANSWER,), "is no finding any more", True, id="an answer to nothing"),
    ],
)
def test_each_finding_needs_an_answer(
    findings: tuple[Finding, ...], written: tuple[Answer, ...], says: str, good: bool
) -> None:
    said, judged = audit.judge(Audit(findings=findings, asked=9, untold=0), written, TODAY)

    assert says in "\n".join(said)
    assert judged is good


def test_a_database_that_tells_nothing_is_no_all_clear() -> None:
    told = {
        "dependencies": [
            {"name": "amqp", "skip_reason": "not found"},
            {
                "name": "flower",
                "version": "1.0",
                "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}],
            },
        ]
    }

    read = audit.read(told)

    assert read.findings == (FINDING,)
    said, good = audit.judge(read, (ANSWER,), TODAY)
    assert good
    assert "told nothing about 1 of 2 packages: they are not audited here" in said[-1]


def test_the_written_answers_can_be_read() -> None:
    assert all(each.why and each.until for each in audit.answers())
