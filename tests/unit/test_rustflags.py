"""RUSTFLAGS that are cooked: only what is known to be harmless and to mean the same on every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.rustflags import flags_for_resolution, why_not_cookable_flags


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--cfg tokio_unstable",
        "--cfg=tokio_unstable",
        '--cfg getrandom_backend="linux_getrandom"',
        "--check-cfg cfg(loom)",
        "-D warnings",
        "-Dwarnings -A dead_code -W clippy::pedantic -F unsafe_code",
        "--deny warnings --allow=dead_code --cap-lints warn",
        "-C target-cpu=x86-64-v3",
        "-Ctarget-cpu=apple-m1",
        "--codegen target-cpu=x86-64-v2",
        "--codegen=target-feature=+crt-static,-avx512f",
        "-C opt-level=z -C codegen-units=1 -C lto=fat -C panic=abort -C strip=symbols",
        "-C debuginfo=line-tables-only -C split-debuginfo=off -g -O",
        "-C force-frame-pointers=yes -C relocation-model=pic -C code-model=small",
        "-C link-arg=-fuse-ld=lld",
        "-C link-arg=-Wl,--as-needed,--gc-sections,-O1",
        "-C link-args=-Wl,-z,relro,-z,now,-z,stack-size=8388608",
        "-C link-arg=-Wl,--build-id=sha1,--icf=all,--compress-debug-sections=zlib",
    ],
)
def test_harmless_flags_are_cooked(flags: str) -> None:
    assert why_not_cookable_flags(flags.split()) is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        # programs
        ("-C linker=/tmp/evil", "-Clinker=/tmp/evil"),
        ("-Clinker=evil", "-Clinker=evil"),
        ("--codegen linker=evil", "-Clinker=evil"),
        ("--codegen=linker=evil", "-Clinker=evil"),
        ("-C linker-flavor=ld", "-Clinker-flavor=ld"),
        ("-C ar=evil", "-Car=evil"),
        ("-C link-arg=-fuse-ld=/tmp/evil", "-Clink-arg=-fuse-ld=/tmp/evil"),
        ("-C link-arg=-B.", "-Clink-arg=-B."),
        ("-C link-self-contained=+linker", "-Clink-self-contained=+linker"),
        # files
        ("-Clink-arg=@file", "-Clink-arg=@file"),
        ("-C link-arg=-Wl,@file", "-Clink-arg=-Wl,@file"),
        ("-C link-arg=-Wl,-plugin,evil.so", "-Clink-arg=-Wl,-plugin,evil.so"),
        ("-C link-arg=-Wl,--as-needed,-plugin=evil.so", "-Clink-arg=-Wl,--as-needed,-plugin=evil.so"),
        ("-C link-arg=-Wl,-T,link.x", "-Clink-arg=-Wl,-T,link.x"),
        ("-C link-arg=-Wl,-rpath,/opt/lib", "-Clink-arg=-Wl,-rpath,/opt/lib"),
        ("-C link-arg=-Wl,-Map=out.map", "-Clink-arg=-Wl,-Map=out.map"),
        ("-C link-arg=-Tlink.x", "-Clink-arg=-Tlink.x"),
        ("-C link-args=-L/opt/lib", "-Clink-args=-L/opt/lib"),
        ("-L native=/opt/lib", "-L"),
        ("-l static=evil", "-l"),
        ("--extern evil=/tmp/libevil.so", "--extern"),
        ("-C llvm-args=-load=evil.so", "-Cllvm-args=-load=evil.so"),
        ("-C profile-use=/tmp/merged.profdata", "-Cprofile-use=/tmp/merged.profdata"),
        ("-C incremental=/tmp/state", "-Cincremental=/tmp/state"),
        ("--sysroot /tmp", "--sysroot"),
        ("--remap-path-prefix=/home/me=/", "--remap-path-prefix=/home/me=/"),
        ("--emit=link=/tmp/out", "--emit=link=/tmp/out"),
        ("-o /tmp/out", "-o"),
        ("--out-dir=/tmp", "--out-dir=/tmp"),
        # unstable: they load code
        ("-Zcodegen-backend=x.so", "-Zcodegen-backend=x.so"),
        ("-Z codegen-backend=x.so", "-Z"),
        ("-Zllvm-plugins=x.so", "-Zllvm-plugins=x.so"),
        # files with more flags: rustc reads them before it looks at any option
        ("@evil", "@evil"),
        ("--cfg @evil", "@evil"),
        ("-A @evil", "@evil"),
        ("--cap-lints @evil", "@evil"),
        # cut short, or not known
        ("-C", "-C"),
        ("--cfg", "--cfg="),
        ("-D warnings -C", "-C"),
        ("src/main.rs", "src/main.rs"),
        ("-v", "-v"),
        ("-Ctarget-cpu=n\u0430tive", "-Ctarget-cpu=n\u0430tive"),
        # behind something harmless
        ("--cfg tokio_unstable -C opt-level=3 -Clinker=evil", "-Clinker=evil"),
    ],
)
def test_what_may_name_programs_or_files_is_not_cooked(flags: str, told: str) -> None:
    assert f"RUSTFLAGS hold `{told}`" in (why_not_cookable_flags(flags.split()) or "")


@pytest.mark.parametrize(
    "flags",
    ["-C target-cpu=native", "-Ctarget-cpu=native", "--codegen target-cpu=native", "--codegen=target-cpu=native"],
)
def test_this_machines_processor_is_not_cooked(flags: str) -> None:
    assert "another processor on every machine" in (why_not_cookable_flags(flags.split()) or "")


@pytest.mark.parametrize("flag", ["-Copt-level=3\n-Clinker=evil", "--cfg=a\n@evil", "-Adead_code\nx", "-g\n"])
def test_a_line_break_hides_nothing(flag: str) -> None:
    assert why_not_cookable_flags([flag]) is not None


@given(st.lists(st.sampled_from(["-C", "--cfg", "-A", "linker=evil", "-Clinker=evil", "@evil", "-O", "a"])))
def test_no_order_of_words_brings_a_file_or_a_linker_in(words: list[str]) -> None:
    accepted = why_not_cookable_flags(words) is None
    assert not (accepted and "@evil" in words)
    # After `--cfg` or `-A`, rustc takes any word as their value; anywhere else the linker is one.
    reads = [before for before, word in zip(["", *words], words, strict=False) if "linker" in word]
    assert not accepted or all(before in {"--cfg", "-A"} for before in reads)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (("--cfg", "tokio_unstable"), ("--cfg=tokio_unstable",)),
        (('--cfg=feature="x"',), ('--cfg=feature="x"',)),
        (
            ("-C", "target-cpu=native", "-Ctarget-feature=+crt-static"),
            ("-Ctarget-cpu=native", "-Ctarget-feature=+crt-static"),
        ),
        (("--codegen", "panic=abort"), ("-Cpanic=abort",)),
        (("-Clinker=/evil", "-C", "linker=/evil", "-Zcodegen-backend=/evil.so", "@/etc/passwd"), ()),
        (("--cfg", "@/etc/passwd"), ("--cfg=@/etc/passwd",)),
        (("--cfg", "a\x1f-Clinker=/evil"), ()),
        (("-C", "target-cpu=x\n"), ()),
        (("-C",), ()),
        (("-L", "/evil", "--extern", "a=b", "--sysroot=/evil"), ()),
    ],
)
def test_flags_that_may_reach_a_rustc(flags: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert flags_for_resolution(flags) == kept


@given(st.lists(st.text(max_size=20), max_size=6))
def test_no_other_flag_gets_through(flags: list[str]) -> None:
    for flag in flags_for_resolution(flags):
        assert flag.startswith(("--cfg=", "-Ctarget", "-Cpanic", "-Cdebug-assertions"))
        assert not any(character < " " for character in flag)
