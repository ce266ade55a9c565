"""How numba compiles a function that only compiled code calls: to be optimised once, with the whole.

By itself numba links, optimises and turns into machine code every function together with all that it calls,
so that a kernel of a hundred functions is optimised dozens of times over. A part is only translated; the
function that Python calls links all parts, is optimised and made machine code. It compiles the kernel in
half the time, and the machine code is the same. This touches numba's inside (0.61 to 0.68 were read).
"""

from typing import Any, cast

from numba import _dynfunc as dynfunc  # pyright: ignore[reportAttributeAccessIssue,reportUnknownVariableType]
from numba.core import codegen, compiler, compiler_machinery, typed_passes

_codegen, _compiler = cast(Any, codegen), cast(Any, compiler)
_machinery, _passes = cast(Any, compiler_machinery), cast(Any, typed_passes)
_dynfunc = cast(Any, dynfunc)


class PartLibrary(_codegen.JITCodeLibrary):
    """The code of one part: linked with what it calls, and left as it is."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code."""
        return 0


def _executable(library: Any, fndesc: Any, env: Any) -> Any:
    """What numba knows the part by; nobody can call it from Python."""
    name = fndesc.qualname.split(".")[-1]
    return _dynfunc.make_function(fndesc.lookup_module(), name, "part of a kernel", 0, env, (library,))


@_machinery.register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(_passes.NativeLowering):
    """Lowers a part into a `PartLibrary`."""

    _name = "perdure_part_lowering"

    def run_pass(self, state: Any) -> bool:
        """As numba's own, without machine code."""
        context = state.targetctx
        state.library = PartLibrary(context.codegen(), state.func_id.func_qualname)
        context.get_executable = _executable
        try:
            return cast(bool, super().run_pass(state))
        finally:
            del context.get_executable


class PartCompiler(_compiler.CompilerBase):
    """Numba's pipeline with `PartLowering` in it."""

    def define_pipelines(self) -> list[Any]:
        """One pipeline."""
        passes = _compiler.DefaultPassBuilder.define_nopython_pipeline(self.state, "perdure_part")
        passes.passes = [
            (PartLowering, text) if one is _passes.NativeLowering else (one, text)
            for one, text in passes.passes
        ]
        passes.finalize()
        return [passes]
