"""Nothing that is loaded may run code: no pickles, weights as safetensors, no code from a hub, no text run as code or by a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("base", "bench", "boig", "flows", "infra", "tasks")
PICKLES = {"_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "pickle", "shelve"}
"""Modules that run whatever a file tells them to."""
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
NO_WEIGHTS = ("config", "processor", "scheduler", "tokenizer", "extractor")
"""Ends of the names, in lower case, of classes whose `from_pretrained` reads JSON."""
WEIGHTS = {"from_pretrained", "load_pretrained", "load_lora_weights", "load_textual_inversion", "load_ip_adapter", "from_single_file"}
"""What loads weights, and takes a pickle where there is no safetensors file unless it is told not to."""
SAFE_YAML = {"yaml.SafeLoader", "yaml.CSafeLoader"}

ALLOWED = {
    ("flows/parcels.py", "pickle"): "what travels between a driver and its own Ray workers, which Ray itself pickles; nothing from outside",
    ("flows/on_ray.py", "pickle"): "the same: batches and answers between the driver and its own workers",
    ("boig/verbalizer/pretrained.py", "safetensors"): "`load_pretrained` passes its arguments on; its callers are checked instead",
}
"""(file, rule): reason."""


def breaches(source: str) -> Iterator[tuple[str, int]]:
    """Rule and line of whatever breaks one."""
    tree = ast.parse(source)
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            yield from ((rule, node.lineno) for rule in _of_call(node, names))
            modules = []
        else:
            continue
        yield from (("pickle", node.lineno) for module in modules if PICKLES & set(module.split(".")))


def _imported(tree: ast.AST) -> dict[str, str]:
    """Name in the file to dotted name outside."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
            names |= {alias.name.split(".")[0]: alias.name.split(".")[0] for alias in node.names if not alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """What is called, under its name outside; names that are not imported have a leading dot, but for builtins."""
    first, _, rest = ast.unparse(node).partition(".")
    known = names.get(first, first if first in {"eval", "exec", "__import__"} else f".{first}")
    return f"{known}.{rest}" if rest else known


def _of_call(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    """The rules that one call breaks."""
    called = _dotted(call.func, names)
    owner, _, last = called.rpartition(".")
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}

    def told(key: str, default: object) -> object:
        """A literal argument; an expression counts as the worst."""
        return given[key].value if isinstance(given.get(key), ast.Constant) else ("unknown" if key in given else default)

    by_name = last in {"import_module", "__import__"} and call.args and ast.unparse(call.args[0]).strip("'\"") in PICKLES
    if by_name or last == "read_pickle" or called in {"torch.hub.load", "torch.package.PackageImporter"}:
        yield "pickle"
    if called == "torch.load" and told("weights_only", None) is not True:
        yield "torch.load"
    if called == "numpy.load" and told("allow_pickle", False) is not False:
        yield "numpy.load"
    if called == "yaml.load":
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or _dotted(loader, names) not in SAFE_YAML:
            yield "yaml"
    if called in {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all"}:
        yield "yaml"
    if called == "ruamel.yaml.YAML" and told("typ", "rt") not in {"rt", "safe"}:
        yield "yaml"
    if called in {"eval", "exec"}:
        yield "eval"
    if told("shell", False) is not False or called in SHELLS:
        yield "shell"
    if told("trust_remote_code", False) is not False:
        yield "remote code"
    if last in WEIGHTS and told("use_safetensors", None) is not True and "gguf_file" not in given:
        loaded = ast.unparse(call.args[0]) if last == "load_pretrained" and call.args else owner
        if not loaded.lower().removesuffix("_class").endswith(NO_WEIGHTS):
            yield "safetensors"


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT) for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")), ids=str)
def test_nothing_that_is_loaded_runs_code(path: Path):
    found = [f"{path}:{line} {rule}" for rule, line in breaches((ROOT / path).read_text()) if (path.as_posix(), rule) not in ALLOWED]
    assert not found, f"{found}; see this test for the rules, and for what to use"


@pytest.mark.parametrize("path, rule", ALLOWED, ids=str)
def test_what_is_allowed_is_still_needed(path: str, rule: str):
    assert rule in {broken for broken, _ in breaches((ROOT / path).read_text())}


BAD = {
    "pickle": (
        "import pickle",
        "import pickle as p",
        "from joblib import load",
        "from sklearn.externals import joblib",
        "def f():\n    import cloudpickle",
        "import dill, json",
        "from marshal import loads",
        "import shelve",
        "from importlib import import_module\nimport_module('pickle')",
        "import pandas as pd\npd.read_pickle(path)",
        "import torch\ntorch.hub.load(repo, 'x')",
    ),
    "torch.load": (
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=safe)",
        "from torch import load\nload(path)",
        "import torch as t\nt.load(path, 'cpu')",
    ),
    "numpy.load": (
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=maybe)",
        "from numpy import load as read\nread(path, allow_pickle=True)",
    ),
    "yaml": (
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.load(text, yaml.UnsafeLoader)",
        "import yaml\nyaml.unsafe_load(text)",
        "from yaml import full_load\nfull_load(text)",
        "from ruamel.yaml import YAML\nYAML(typ='unsafe')",
    ),
    "eval": ("eval(text)", "exec(text)", "def f(x):\n    return [eval(y) for y in x]"),
    "shell": (
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from subprocess import Popen\nPopen(command, shell=on)",
        "import os\nos.system(command)",
    ),
    "remote code": (
        "AutoModel.from_pretrained(x, use_safetensors=True, trust_remote_code=True)",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=section.trust)",
        "load_dataset(x, trust_remote_code=True)",
    ),
    "safetensors": (
        "AutoModel.from_pretrained(x)",
        "StableDiffusionPipeline.from_pretrained(x, use_safetensors=False)",
        "PeftModel.from_pretrained(base, x, use_safetensors=maybe)",
        "auto_class.from_pretrained(x)",
        "load_pretrained(model_class, x, revision)",
        "load_pretrained(AutoModelForCausalLM, x, revision)",
        "pipe.load_lora_weights(folder)",
    ),
}


@pytest.mark.parametrize("rule, source", [(rule, source) for rule, sources in BAD.items() for source in sources])
def test_each_rule_can_be_broken(rule: str, source: str):
    assert [broken for broken, _ in breaches(source)] == [rule]


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "from ruamel.yaml import YAML\nyaml = YAML()\nyaml.load(text)",
        "net.eval()",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=False)",
        "AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)",
        "StableDiffusionPipeline.from_pretrained(x, use_safetensors=True)",
        "load_pretrained(processor_class, x, revision)",
        "load_pretrained(AutoProcessor, x, revision)",
        "from json import load\nload(stream)",
    ],
)
def test_what_is_safe_is_let_through(source: str):
    assert not list(breaches(source))
