# %% [markdown]
# # Differentiating through training, ten ways
#
# A notebook as text: every `# %%` starts a cell (Jupyter with jupytext, VS Code and PyCharm open it as it is), and
# `python docs/notebooks/ten_ways.py` runs it from top to bottom, as the tests do.
#
# A small regression is trained for K steps on noisy data. Each example has a weight, and the training rate is learned
# too. After the run a clean validation loss is measured. How does it change with each weight and with the rate?

# %%
import jax
import jax.numpy as jnp
import numpy as np

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.types import InnerProblem

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
N, D, K = 12, 3, 10
truth = rng.normal(size=D)
x = jnp.asarray(rng.normal(size=(N, D)))
wrong = np.arange(N) < 3
y = x @ truth + jnp.asarray(np.where(wrong, 3.0, 0.05) * rng.normal(size=N))
x_clean = jnp.asarray(rng.normal(size=(40, D)))
y_clean = x_clean @ truth

# %% [markdown]
# **What** is differentiated is an `InnerProblem`: a loss of `(params, meta, batch)` and an optimiser. Everything that
# is meta-learned is an explicit leaf of `meta`; the batches carry a leading axis K, one entry a step.


# %%
def inner_loss(params, meta, batch):
    index = batch["index"]
    return jnp.sum(meta["weights"][index] * (x[index] @ params - y[index]) ** 2) / N


def outer_loss(params):
    return jnp.mean((x_clean @ params - y_clean) ** 2)


problem = InnerProblem(inner_loss, optimizers.adam(lambda meta: jnp.exp(meta["log_rate"])))
init = jnp.zeros(D)
meta = {"weights": jnp.ones(N), "log_rate": jnp.asarray(np.log(0.1))}
batches = {"index": jnp.tile(jnp.arange(N), (K, 1))}

# %% [markdown]
# **How** is an estimator: a frozen dataclass whose fields are its options. All have `value_and_grad`; those that pull a
# cotangent back also have `adapt` and `pullback`, two functions with whatever you like in between.

# %%
WAYS = {
    "unroll": {},  # 1. reverse mode through the whole run: the textbook
    "mixed_mode": {},  # 2. reverse over the steps, forward over reverse inside each
    "adjoint": {},  # 3. the same walk written by hand: the default
    "forward": {},  # 4. carry the derivative along: for a handful of scalars
    "truncated": {"window": 3},  # 5. the walk over the last steps only
    "first_order": {"scale": 0.1},  # 6. every step's Jacobian as the identity
    "implicit": {"damping": 1e-3},  # 7. where the run ended counts, not how it got there
    "finite_difference": {"epsilon": 1e-3},  # 8. second derivatives as differences of gradients
    "evolution": {"samples": 400, "sigma": 0.02},  # 9. no derivative at all
    "persistent_evolution": {"samples": 400, "sigma": 0.02, "window": 5},  # 10. the same, a window at a time
}
found = {}
for name, options in WAYS.items():
    estimator = metagrad.make(name, **options)
    value, found[name] = jax.jit(estimator.value_and_grad(problem, outer_loss))(init, meta, batches)

exact = found["unroll"].meta


def cosine(a, b):
    return float(a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b)))


print(f"{'way':22s} {'exact':6s} {'cosine, weights':>16s} {'d / d log rate':>15s}   diagnostics")
for name, gradient in found.items():
    told = ", ".join(f"{key} = {float(number):.2g}" for key, number in gradient.diagnostics.items())
    angle = cosine(gradient.meta["weights"], exact["weights"])
    is_exact = str(metagrad.ESTIMATORS[name].exact)
    print(f"{name:22s} {is_exact:6s} {angle:16.6f} {float(gradient.meta['log_rate']):15.4f}   {told}")

# %% [markdown]
# The exact ones agree to rounding. The wrong labels are where the gradient says "less of this": a positive derivative
# of the loss with respect to the weight.

# %%
for name in ("mixed_mode", "adjoint", "forward"):
    np.testing.assert_allclose(found[name].meta["weights"], exact["weights"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[name].meta["log_rate"], exact["log_rate"], rtol=1e-9)
assert cosine(found["finite_difference"].meta["weights"], exact["weights"]) > 0.9999
assert cosine(found["evolution"].meta["weights"], exact["weights"]) > 0.9
assert np.argmax(np.abs(exact["weights"])) in np.flatnonzero(wrong)

# %% [markdown]
# The approximate ones say by their diagnostics when not to believe them: after ten steps nothing is stationary yet, and
# three steps before the end the cotangent is longer than at the end. The rate, which only the optimiser
# reads, gets no gradient from `first_order` and `implicit`: that path is cut, not small.

# %%
for name in ("first_order", "implicit", "truncated"):
    estimator = metagrad.make(name, **WAYS[name])
    sentence = estimator.assumption({key: float(number) for key, number in found[name].diagnostics.items()})
    print(f"{name}: {sentence or 'nothing to complain about'}\n")
assert found["first_order"].meta["log_rate"] == 0.0 == found["implicit"].meta["log_rate"]
assert metagrad.make("implicit", **WAYS["implicit"]).assumption(
    {key: float(number) for key, number in found["implicit"].diagnostics.items()}
)

# %% [markdown]
# Before paying for a run, ask what it would cost. Nothing is compiled: the program is traced and counted.

# %%
explanations = {
    name: metagrad.explain(metagrad.make(name, **WAYS[name]), problem, init, meta, batches) for name in WAYS
}
print(explanations["adjoint"], "\n")
print(explanations["first_order"])
assert explanations["adjoint"].gradients == {"meta['log_rate']": True, "meta['weights']": True}
assert explanations["first_order"].gradients == {"meta['log_rate']": False, "meta['weights']": True}

# %% [markdown]
# `adapt` and `pullback` are compiled apart where the outer loss is not a function yet: the adapted parameters may
# answer questions, be graded, and only then is the cotangent known.

# %%
adjoint = metagrad.make("adjoint")
run = jax.jit(lambda *arguments: adjoint.adapt(problem, *arguments))(init, meta, batches)
cotangent = jax.grad(outer_loss)(run.params)  # here: anything that you learned about run.params
pulled = jax.jit(lambda *arguments: adjoint.pullback(problem, *arguments))(run.residuals, meta, batches, cotangent)
np.testing.assert_allclose(pulled.meta["weights"], exact["weights"], rtol=1e-9, atol=1e-12)

# %% [markdown]
# And what it is for: follow the gradient, and the wrong examples lose their weight.

# %%
weights = meta["weights"]
step = jax.jit(adjoint.value_and_grad(problem, outer_loss))
for _ in range(40):
    value, gradient = step(init, meta | {"weights": weights}, batches)
    weights = jnp.clip(weights - 0.1 * gradient.meta["weights"] / jnp.max(jnp.abs(gradient.meta["weights"])), 0.0, 2.0)
print(f"outer loss {float(outer_loss(run.params)):.4f} -> {float(value):.4f}")
print("weights:", np.round(np.asarray(weights), 2), "(the first three labels are wrong)")
assert value < 0.5 * outer_loss(run.params)
assert np.mean(weights[:3]) < 0.5 * np.mean(weights[3:])
