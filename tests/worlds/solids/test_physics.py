"""The simulated mechanics against the laws of the textbook: each fails when its constant is another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitascope.worlds.solids.physics import (
    GRAVITY,
    LAWS,
    Body,
    Experiment,
    Trajectory,
    sample_experiment,
    simulate,
)

RATE = 100.0


def run(experiment: Experiment, seconds: float = 2.0) -> tuple[np.ndarray, Trajectory]:
    motion = simulate(experiment, num_samples=round(seconds * RATE) + 1, rate=RATE)
    return np.arange(len(motion.positions)) / RATE, motion


def drawn(law, seed: int = 0, widened: float = 1.0) -> Experiment:
    return sample_experiment(law, np.random.default_rng(seed), widened=widened)


def test_a_ball_that_rolls_keeps_its_speed_and_does_not_slide():
    experiment = drawn("uniform")
    times, motion = run(experiment)
    (ball,) = experiment.bodies
    np.testing.assert_allclose(motion.positions[:, 0, 0], ball.position[0] + ball.velocity[0] * times, atol=2e-3)
    angle = 2 * np.unwrap(np.arctan2(motion.turns[:, 0, 2], motion.turns[:, 0, 0]), period=math.pi)
    np.testing.assert_allclose(angle * ball.size[0], ball.velocity[0] * times, atol=5e-3)


def test_a_throw_is_a_parabola_until_it_lands():
    experiment = drawn("parabola")
    times, motion = run(experiment)
    (ball,) = experiment.bodies
    landed = motion.contacts[0].seconds
    assert 0.5 < landed < 2.0
    assert (motion.contacts[0].body, motion.contacts[0].other) == (0, None)
    flying = times < landed - 0.01
    expected = ball.position[2] + ball.velocity[2] * times - 0.5 * GRAVITY * times**2
    np.testing.assert_allclose(motion.positions[flying, 0, 2], expected[flying], atol=3e-3)
    np.testing.assert_allclose(motion.velocities[flying, 0, 2], (ball.velocity[2] - GRAVITY * times)[flying], atol=1e-2)


@pytest.mark.parametrize("restitution", [0.0, 0.5, 0.8])
def test_a_bounce_keeps_its_share_of_the_speed(restitution):
    ball = Body("sphere", (0.3, 0.3, 0.3), (0.0, 0.0, 1.3))
    times, motion = run(Experiment("bounce", (ball,), restitution=restitution), 2.0)
    struck = math.sqrt(2 * 1.0 / GRAVITY)
    after = (times > struck) & (times < struck + 2 * max(restitution, 0.3) * struck)
    height = motion.positions[after, 0, 2].max() - 0.3
    assert height == pytest.approx(restitution**2 * 1.0, abs=0.03)


@pytest.mark.parametrize("mass", [0.5, 1.0, 2.0])
def test_a_collision_keeps_momentum_and_its_share_of_the_relative_speed(mass):
    moving = Body("sphere", (0.3, 0.3, 0.3), (-1.0, 0.0, 0.3), (1.2, 0.0, 0.0))
    resting = Body("sphere", (0.3, 0.3, 0.3), (0.0, 0.0, 0.3), mass=mass)
    _, motion = run(Experiment("collision", (moving, resting), restitution=0.9, friction=0.0), 1.5)
    first, second = motion.velocities[-1, :, 0]
    assert first + mass * second == pytest.approx(1.2, abs=0.01)
    assert second - first == pytest.approx(0.9 * 1.2, abs=0.03)
    assert any({contact.body, contact.other} == {0, 1} for contact in motion.contacts)


def test_a_ball_rolls_down_a_ramp_at_five_sevenths_of_a_slide():
    """A solid sphere that doesn't slip: a = 5/7 g sin(angle)."""
    experiment = drawn("ramp", seed=3)
    times, motion = run(experiment)
    (slope,) = experiment.fixtures
    on_slope = times < 0.8
    travelled = np.linalg.norm(motion.positions[on_slope, 0] - motion.positions[0, 0], axis=1)
    expected = 0.5 * 5 / 7 * GRAVITY * math.sin(abs(slope.tilt)) * times[on_slope] ** 2
    np.testing.assert_allclose(travelled, expected, atol=0.02)


def test_a_pendulum_swings_in_its_period_and_keeps_its_energy():
    experiment = drawn("pendulum")
    times, motion = run(experiment, 5.0)
    (ball,), pivot = experiment.bodies, experiment.pivot
    assert pivot is not None
    length = math.dist(ball.position, pivot)
    swing = math.atan2(abs(ball.position[0]), pivot[2] - ball.position[2])
    # to the second order in the angle; a ball of radius r adds its own inertia, 2/5 r^2
    small = 2 * math.pi * math.sqrt((length**2 + 0.4 * ball.size[0] ** 2) / (GRAVITY * length))
    period = small * (1 + swing**2 / 16 + 11 * swing**4 / 3072)
    x = motion.positions[:, 0, 0]
    crossings = times[1:][np.sign(x[1:]) != np.sign(x[:-1])]
    assert 2 * np.diff(crossings).mean() == pytest.approx(period, rel=0.01)
    assert abs(x[-int(RATE * period) :]).max() == pytest.approx(abs(x[0]), rel=0.02)


def test_dominoes_fall_one_after_another():
    _, motion = run(drawn("topple"), 4.0)
    upright = 1 - 2 * (motion.turns[..., 1] ** 2 + motion.turns[..., 2] ** 2)  # the vertical share of their own axis
    assert (upright[0] > 0.999).all()
    assert (upright[-1] < 0.8).all()
    fell = [int(np.argmax(upright[:, k] < 0.8)) for k in range(upright.shape[1])]
    assert fell == sorted(fell) or fell == sorted(fell, reverse=True)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("widened", [1.0, 1.5])
def test_every_experiment_stays_in_sight_and_above_the_ground(law, widened):
    for seed in range(6):
        experiment = drawn(law, seed, widened)
        _, motion = run(experiment, 2.0)
        assert np.isfinite(motion.positions).all()
        assert motion.positions[..., 2].min() > 0.03
        assert abs(motion.positions[0, :, 0]).max() < 2.0
        assert motion.positions[..., 2].max() < 3.2


def test_an_experiment_and_its_mirror_image_mirror_each_other():
    """A ball that starts on the left of its ramp rolls to the right, and the other way round."""
    starts = {seed: np.sign(drawn("ramp", seed).bodies[0].position[0]) for seed in range(6)}
    assert set(starts.values()) == {-1, 1}
    for seed, side in starts.items():
        _, motion = run(drawn("ramp", seed))
        assert np.sign(motion.positions[-1, 0, 0] - motion.positions[0, 0, 0]) == -side


def test_the_same_experiment_moves_the_same_way():
    first, second = (run(drawn("topple"), 1.0)[1] for _ in range(2))
    np.testing.assert_array_equal(first.positions, second.positions)
    assert first.contacts == second.contacts


def test_touching_is_told_once_however_long_and_shakily_two_things_rest():
    """Fails when every contact of a rolling ball counts: there were 500 within two seconds of a collision."""
    for seed in range(4):
        _, motion = run(drawn("collision", seed), 2.0)
        pairs = [(contact.body, contact.other) for contact in motion.contacts]
        assert (0, 1) in pairs
        assert len(pairs) <= 3


def test_each_body_bounces_by_what_it_is_made_of():
    """Side by side in one experiment; fails when all bounce as the first does."""
    bodies = [
        Body("sphere", (0.2, 0.2, 0.2), (2.0 * k, 0.0, 1.2), restitution=share) for k, share in enumerate((0.3, 0.8))
    ]
    motion = simulate(Experiment("bounce", tuple(bodies)), num_samples=240, rate=120.0)
    landed = round(120 * (2 * 1.0 / 5.0) ** 0.5)
    heights = motion.positions[landed + 6 :, :, 2].max(axis=0) - 0.2
    np.testing.assert_allclose(heights, [0.3**2, 0.8**2], atol=0.06)
