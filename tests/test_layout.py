"""The layout of the code: sizes of files, twins of kernels, docstrings, and the table of folders."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("dptrain", "workers", "launch", "benchmarks", "tools")
MOST = 600  #: lines; more does not pass
MANY = 400  #: lines; more needs a reason here

#: Files between MANY and MOST lines, and why each is still one noun.
LONG = {
    "dptrain/settings.py": "one table: every setting, declared once",
    "dptrain/interop/onnxfile.py": "one table: every layer of the library and its form in ONNX",
    "tests/simulation/world.py": "one world: what can happen to any of its actors, in one order of events",
    "dptrain/cluster/coordinator.py": "one state machine: every event of the coordinator and what follows",
    "dptrain/cluster/worker.py": "one state machine: every event of a worker and what follows",
    "tests/cluster/test_worker.py": "one machine: every event it can get, each with the whole list of actions",
}


def files(*folders):
    return [f for folder in folders for f in sorted((ROOT / folder).rglob("*.py"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


def lines(path):
    return len(path.read_text().splitlines())


def test_no_file_is_longer_than_the_limit_and_every_long_one_has_its_reason():
    long = {name(f): lines(f) for f in files(*CODE, "tests") if lines(f) > MANY}
    assert {path: n for path, n in long.items() if n > MOST} == {}
    assert set(long) == set(LONG), "a file has grown beyond 400 lines, or a listed one has shrunk"


def test_every_file_says_what_it_contains():
    def silent(path):
        return not (ast.get_docstring(ast.parse(path.read_text())) or "").strip()

    assert [name(f) for f in files(*CODE, "tests") if silent(f)] == []


def test_every_package_has_an_init_so_that_the_wheel_and_the_import_rules_see_it():
    folders = {f.parent for f in files("dptrain", "workers", "launch", "benchmarks")}
    assert [name(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_tests_are_files_and_not_packages():
    assert [name(f) for f in files("tests") if f.name == "__init__.py"] == []


# --- kernels: the definition of every operation, its compiled twin, and the test that compares them

KERNELS = ROOT / "dptrain" / "kernels"

#: Public functions of an operation's file that other kernels call. Its test reaches them through the operations.
PARTS = {
    "conv": {"correlate", "outer", "pack", "reach", "tap_classes", "unpack"},
    "elementary": {"exp_scalar", "log_scalar"},
    "norm": {"add_pixels", "joined"},
    "warp": {"gaussian"},
    "winograd": {
        "tiled",
        "tiled_sums",
        "fits",
        "choose",
        "positions",
        "transform_weights",
        "weights_from_sums",
        "convolve",
        "add_sums",
        "scratch",
        "framed",
    },
}

#: Files of kernels/ without a reference -> the tests that compare what they compute with something else.
HELD_BY = {
    # exact NumPy arithmetic: a second implementation would be the same code; the standard library is another
    "normal.py": ["kernels/test_normal.py::test_inverse_normal_agrees_with_the_standard_library_over_the_whole_range"],
    # the choice of a level and of a twin; every level must give the bits of portable code
    "isa.py": [
        "system/test_isa.py::test_gradients_and_scores_have_the_bits_of_portable_code",
        "system/test_isa_layers.py::test_outputs_and_gradients_have_the_bits_of_portable_code",
    ],
    "compiled.py": [
        "kernels/test_conv.py::test_other_dtypes_are_refused",
        "nn/test_gradients.py::test_gradient_equals_central_differences_at_random_entries",
    ],
    # generated code: an order of additions written in Python, with every rounding, must come out bit by bit
    "codegen/vector.py": [
        "kernels/test_conv.py::test_every_bit_is_that_of_the_order_of_additions_that_is_written_down",
        "kernels/test_winograd.py::test_every_bit_is_that_of_the_order_of_additions_that_is_written_down",
    ],
    "codegen/registers.py": [
        "kernels/test_conv.py::test_a_split_covers_the_whole_in_parts_within_the_limit",
        "kernels/test_winograd.py::test_register_blocks_divide_what_they_cover",
        "system/test_isa.py::test_gradients_and_scores_have_the_bits_of_portable_code",
    ],
    "codegen/correlate.py": [
        "kernels/test_conv.py::test_forward_and_both_gradients_equal_the_reference",
        "kernels/test_conv.py::test_every_bit_is_that_of_the_order_of_additions_that_is_written_down",
    ],
    "codegen/winograd.py": [
        "kernels/test_winograd.py::test_forward_and_both_gradients_equal_a_direct_convolution",
        "kernels/test_winograd.py::test_every_bit_is_that_of_the_order_of_additions_that_is_written_down",
    ],
    "codegen/lines.py": [
        "engine/test_model.py::test_every_parameter_gets_its_own_gradient",
        "engine/test_model.py::test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for",
        "engine/test_model.py::test_scores_equal_nns_and_do_not_depend_on_batch_mates",
    ],
    # the engine's passes: dptrain.nn in float64 is their definition, and their bits are recorded
    "fused/image.py": [
        "engine/test_model.py::test_gradients_are_as_near_to_float64_as_nns",
        "engine/test_model.py::test_every_parameter_gets_its_own_gradient",
        "engine/test_model.py::test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for",
    ],
    "fused/norm.py": [
        "engine/test_model.py::test_every_parameter_gets_its_own_gradient",
        "engine/test_model.py::test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for",
        "engine/test_model.py::test_scores_equal_nns_and_do_not_depend_on_batch_mates",
    ],
    "fused/convolution.py": [
        "engine/test_model.py::test_every_parameter_gets_its_own_gradient",
        "engine/test_model.py::test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for",
        "engine/test_model.py::test_a_result_does_not_depend_on_earlier_shards",
    ],
    "fused/ends.py": [
        "engine/test_model.py::test_the_standardised_pixel_is_nns_bit_for_bit",
        "engine/test_model.py::test_every_parameter_gets_its_own_gradient",
        "engine/test_model.py::test_gradients_have_the_bits_that_the_name_of_the_arithmetic_stands_for",
    ],
    # passes with the bits of layers: nn is their definition
    "fused/rows.py": [
        "engine/test_lowering.py::test_a_residual_network_of_any_block_and_shortcut_has_the_bits_of_its_layers",
        "engine/test_lowering.py::test_a_random_network_from_a_file_has_the_bits_of_its_layers",
    ],
    "fused/channels.py": [
        "engine/test_lowering.py::test_a_residual_network_of_any_block_and_shortcut_has_the_bits_of_its_layers",
        "engine/test_lowering.py::test_any_other_network_has_the_bits_of_its_layers",
    ],
    "fused/windows.py": [
        "engine/test_lowering.py::test_any_other_network_has_the_bits_of_its_layers",
        "engine/test_lowering.py::test_a_random_network_from_a_file_has_the_bits_of_its_layers",
    ],
    # measures this core; computes nothing that a run uses
    "fused/peak.py": ["cli/test_bench.py::test_layers_say_how_their_products_are_made"],
}


def operations():
    """The names of the operations: each has its definition in reference/."""
    return sorted(f.stem for f in (KERNELS / "reference").glob("*.py") if f.name != "__init__.py")


def files_without_a_reference():
    """The other files of kernels/, relative to it."""
    known = {f"{operation}.py" for operation in operations()}
    every = {f.relative_to(KERNELS).as_posix() for f in KERNELS.rglob("*.py") if f.name != "__init__.py"}
    return {f for f in every if not f.startswith("reference/")} - known


def signatures(path):
    """Public function -> parameters and result as written. F32 of a twin counts as Floats."""
    tree = ast.parse(path.read_text())
    functions = [f for f in tree.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")]
    return {
        f.name: re.sub(r"\bF32\b", "Floats", f"({ast.unparse(f.args)}) -> {ast.unparse(f.returns)}") for f in functions
    }


@pytest.mark.parametrize("operation", operations())
def test_an_operation_has_a_compiled_twin_and_a_test(operation):
    wanted = [KERNELS / f"{operation}.py", ROOT / "tests" / "kernels" / f"test_{operation}.py"]
    assert [name(f) for f in wanted if not f.exists()] == []


@pytest.mark.parametrize("operation", operations())
def test_the_twins_have_the_same_functions_with_the_same_signatures(operation):
    reference, compiled = signatures(KERNELS / "reference" / f"{operation}.py"), signatures(KERNELS / f"{operation}.py")
    assert reference, "a reference without public functions defines nothing"
    parts = PARTS.get(operation, set())
    assert parts <= set(compiled) - set(reference)
    assert {f: s for f, s in compiled.items() if f not in parts} == reference


def test_every_kernel_without_a_reference_names_the_tests_that_hold_it():
    assert files_without_a_reference() == set(HELD_BY)


@pytest.mark.parametrize("file", HELD_BY)
def test_the_tests_that_hold_a_kernel_exist(file):
    assert HELD_BY[file]
    for test in HELD_BY[file]:
        path, function = test.split("::")
        functions = [node.name for node in ast.parse((ROOT / "tests" / path).read_text()).body if hasattr(node, "name")]
        assert function in functions, test


# --- README and CONTRIBUTING


def table(heading):
    """What the first column of the table under `heading` of CONTRIBUTING.md names, without backticks."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.sub("`", "", row).split(", ")]


def folders_of_the_house():
    """Every folder a reader of the repository meets: the top level, the packages of the library, the tests."""
    hidden = re.compile(r"^[.](?!ci$)|__pycache__|egg-info")
    made = {"build", "dist", "runs"}  # at the top level; dptrain/runs/ is a folder of the library
    visible = (f for f in ROOT.iterdir() if f.is_dir() and not hidden.search(f.name) and f.name not in made)
    top = [f.name for f in visible if any(f.iterdir())]
    packages = (f for f in (ROOT / "dptrain").iterdir() if f.is_dir() and not f.is_symlink())  # links: to the top level
    library = [f"dptrain/{f.name}" for f in packages if not hidden.search(f.name)]
    tests = (f for f in (ROOT / "tests").iterdir() if f.is_dir())
    of_tests = [f"tests/{f.name}" for f in tests if not hidden.search(f.name) and any(f.iterdir())]
    return {f"{folder}/" for folder in top + library + of_tests}


def test_contributing_names_exactly_the_folders_there_are():
    named = table("Where things are")
    assert len(named) == len(set(named))
    assert set(named) == folders_of_the_house()


def test_files_the_documents_point_to_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        targets = [
            t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t and not t.startswith("#")
        ]
        assert [t for t in targets if not (ROOT / t).exists()] == [], document


def test_scripts_can_be_started():
    scripts = [ROOT / ".ci" / "run", *sorted((ROOT / "launch").glob("*.sh"))]
    started = [s for s in scripts if s.read_text().startswith("#!")]
    assert {s.name for s in started} >= {"run", "local.sh", "check.sh"}
    assert [name(s) for s in started if not s.stat().st_mode & 0o100] == []
