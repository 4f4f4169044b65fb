"""The sampler against diffusers' own, and what `generate` promises."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from boig.diffusion.pipeline import load_base
from boig.diffusion.sampler import Schedule, generate, noise, trajectory
from boig.diffusion.text import TextCache, kpi_code

SPACINGS = ("leading", "trailing")


@pytest.mark.parametrize(
    ("prediction", "zero_snr", "spacing", "eta", "to_one"),
    [
        case
        for case in product(("v_prediction", "epsilon", "sample"), (False, True), SPACINGS, (0.0, 1.0), (False, True))
        if not (case[0] == "epsilon" and case[1] and case[2] == "trailing")  # undefined: the picture cannot be seen in pure noise
    ],
)
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_each_step_agrees_with_diffusers(prediction, zero_snr, spacing, eta, to_one, steps):
    theirs = DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type=prediction, rescale_betas_zero_snr=zero_snr, timestep_spacing=spacing,
        set_alpha_to_one=to_one, clip_sample=False,
    )  # fmt: skip
    theirs.set_timesteps(steps)
    ours = Schedule.of(theirs.config, steps, eta)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    for i, t in enumerate(theirs.timesteps):
        output, latents, draw = (torch.randn(2, 4, 4, 4, generator=generator) for _ in range(3))
        expected = theirs.step(output, t, latents, eta=eta, variance_noise=draw if eta else None).prev_sample
        if expected.isnan().all():
            # From pure noise with eta 1 diffusers takes the root of a rounding error below 0; the limit has a closed form.
            assert (zero_snr, eta, i) == (True, 1, 0)
            alpha = ours.alpha_prev[0]
            expected = alpha.sqrt() * (output if prediction == "sample" else -output) + (1 - alpha).sqrt() * draw
        found = ours.mean(i, output, latents) + ours.sigma[i] * draw
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_clipping_the_predicted_picture_agrees_with_diffusers():
    theirs = DDIMScheduler(clip_sample=True, clip_sample_range=0.5)
    theirs.set_timesteps(5)
    ours = Schedule.of(theirs.config, 5, 0.0)
    output, latents = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for i, t in enumerate(theirs.timesteps):
        torch.testing.assert_close(ours.mean(i, output, latents), theirs.step(output, t, latents).prev_sample, rtol=1e-5, atol=1e-5)


def test_logprob_is_the_normal_density_averaged_over_the_latent():
    schedule = Schedule.of(DDIMScheduler(clip_sample=False).config, 10, 1.0)
    mean, after = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for step in range(9):
        normal = torch.distributions.Normal(mean, schedule.sigma[step].item())
        torch.testing.assert_close(schedule.logprob(step, mean, after), normal.log_prob(after).mean((1, 2, 3)))


def test_a_step_without_noise_has_no_density():
    schedule = Schedule.of(DDIMScheduler(clip_sample=False).config, 10, [1.0] * 5 + [0.0] * 5)
    assert schedule.stochastic == (True,) * 5 + (False,) * 5
    assert schedule.logprob(9, torch.ones(2, 4, 4, 4), torch.zeros(2, 4, 4, 4)).tolist() == [0, 0]
    assert not Schedule.of(DDIMScheduler(set_alpha_to_one=True).config, 10, 1.0).stochastic[-1]


@pytest.mark.parametrize("which", ["base", "epsilon_base"])
def test_generate_draws_what_the_pipeline_draws(which, request):
    pipe = load_base(str(request.getfixturevalue(which)), "")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    start = noise([5], 0, (4, 4, 4), "cpu")[:, 0]
    theirs = pipe("a red cup", num_inference_steps=6, guidance_scale=2.0, latents=start, height=16, width=16, output_type="np").images
    ours = generate(pipe, ["a red cup"], [5], 6, 2.0, batch_size=1)
    assert np.abs(ours.astype(int) - (theirs * 255).round().astype(int)).max() <= 1


def test_a_picture_depends_on_its_own_prompt_and_seed_alone(base):
    pipe = load_base(str(base), "")
    prompts, seeds = ["a cup", "a shoe", "a lamp", "a cup", "x"], [1, 2, 3, 4, 5]
    together = generate(pipe, prompts, seeds, 3, 1.5, batch_size=4, eta=1.0)
    for i in (0, 3, 4):
        assert np.array_equal(generate(pipe, [prompts[i]], [seeds[i]], 3, 1.5, batch_size=4, eta=1.0)[0], together[i])
    backwards = generate(pipe, prompts[::-1], seeds[::-1], 3, 1.5, batch_size=4, eta=1.0)
    assert np.array_equal(backwards[::-1], together)
    assert not np.array_equal(together[0], together[3])
    assert generate(pipe, [], [], 3, 1.5).shape == (0, 16, 16, 3)


def test_noise_of_a_seed_starts_alike_for_any_number_of_steps():
    assert torch.equal(noise([7, 8], 0, (4, 4, 4), "cpu")[:, 0], noise([7, 8], 5, (4, 4, 4), "cpu")[:, 0])
    assert torch.equal(noise([8], 5, (4, 4, 4), "cpu")[0], noise([7, 8], 5, (4, 4, 4), "cpu")[1])


def test_kpi_guidance_leads_from_one_bucket_to_another(base):
    pipe = load_base(str(base), "")
    cache = TextCache(pipe)
    told = generate(pipe, ["a cup"], [1], 3, 1.0, kpi=("high", "low"), cache=cache)
    assert not np.array_equal(told, generate(pipe, ["a cup"], [1], 3, 1.0, cache=cache))
    assert np.array_equal(told, generate(pipe, ["a cup"], [1], 3, 1.0, kpi=("high", "medium"), cache=cache))  # no guidance, no contrast
    led = generate(pipe, ["a cup"], [1], 3, 4.0, kpi=("high", "low"), cache=cache)
    assert not np.array_equal(led, told)
    assert not np.array_equal(led, generate(pipe, ["a cup"], [1], 3, 4.0, kpi=("high", "medium"), cache=cache))


def test_a_bucket_moves_an_embedding_the_same_way_at_every_token(base):
    cache = TextCache(load_base(str(base), ""))
    plain, told, untold = cache.embed(["a cup"] * 3, [None, "high", None])
    assert torch.equal(plain, untold)
    moved = (told - plain).flatten(1)
    code = kpi_code("high", plain.shape[-1])
    assert torch.allclose(moved, moved[0].expand_as(moved), atol=1e-5)
    assert torch.nn.functional.cosine_similarity(moved[0], code, dim=0) > 0.999
    assert not torch.equal(code, kpi_code("low", plain.shape[-1]))


def test_the_trajectory_is_float32_and_its_first_logprob_is_reproducible(base):
    pipe = load_base(str(base), "", dtype="bfloat16")
    schedule = Schedule.of(pipe.scheduler.config, 3, 1.0)
    context = TextCache(pipe).embed(["a", "b"])
    latents, logprob = trajectory(pipe.unet, schedule, noise([1, 2], 3, (4, 4, 4), "cpu"), context, None, 1.0)
    assert latents.dtype == logprob.dtype == torch.float32
    assert latents.shape == (2, 4, 4, 4, 4)
    assert logprob.shape == (2, 3)
    # The density of a normal at its own draws, averaged over 64 dimensions, is near its entropy.
    assert abs(logprob[0, 0].item() + 0.5 + 0.5 * math.log(2 * math.pi) + math.log(schedule.sigma[0])) < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pipe: generate(pipe, ["a"], [1, 2], 3, 1.0), "1 prompts but 2 seeds"),
        (lambda pipe: generate(pipe, ["a"], [1], 0, 1.0), "steps is 0, must be between 1 and"),
        (lambda pipe: Schedule.of(dict(pipe.scheduler.config) | {"prediction_type": "epsilon"}, 3, 0.0), "zero terminal SNR"),
        (lambda pipe: Schedule.of(dict(pipe.scheduler.config) | {"thresholding": True}, 3, 0.0), "thresholding"),
    ],
)
def test_bad_input_is_one_line(base, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(load_base(str(base), ""))
    assert "\n" not in str(caught.value)
