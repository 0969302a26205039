"""The EMA teacher: momentum, averaging, buffers, modes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cmid.models import EMATeacher, MaskedEncoder, ema_momentum

GOLDEN = Path(__file__).parents[1] / "data" / "cmid.safetensors"


def _student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def _trained(student: nn.Module, steps: int = 1) -> nn.Module:
    student = copy.deepcopy(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        student(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()
    return student


def test_momentum_reproduces_the_golden_vectors():
    golden = load_file(GOLDEN)
    for i, step in enumerate((0, 250, 999)):
        assert ema_momentum(step, 1000) == pytest.approx(float(golden[f"ema.tau.{i}"]), rel=1e-5)


def test_momentum_grows_to_one_and_stays():
    momenta = [ema_momentum(step, 100, base=0.9) for step in range(130)]
    assert momenta[0] == pytest.approx(0.9)
    assert momenta == sorted(momenta)
    assert momenta[100:] == [1.0] * 30
    with pytest.raises(ValueError, match="positive, got 0"):
        ema_momentum(0, 0)


def test_update_is_the_average_written_as_a_loop():
    student = _student()
    teacher = EMATeacher(student)
    own = ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    expected = {k: v.clone() for k, v in student.state_dict().items()}
    for momentum in (0.9, 0.5, 0.996):
        student = _trained(student)
        teacher.update(student, momentum)
        for key, value in student.state_dict().items():
            if key in own:
                continue
            if value.is_floating_point():
                expected[key] = momentum * expected[key] + (1 - momentum) * value
            else:
                expected[key] = value.clone()
    for key, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, expected[key], msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_extreme_momenta_copy_or_keep(momentum):
    student = _student()
    teacher = EMATeacher(student)
    trained = _trained(student)
    teacher.update(trained, momentum)
    torch.testing.assert_close(
        teacher.module[0].weight, (student if momentum else trained)[0].weight
    )


def test_teacher_is_a_copy_without_gradient():
    student = _student()
    teacher = EMATeacher(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    assert teacher.module[0].weight.data_ptr() != student[0].weight.data_ptr()
    assert not teacher.module(torch.randn(3, 4)).requires_grad


def test_teacher_normalises_with_its_batch_and_keeps_statistics_of_its_own():
    student = _student()
    teacher = EMATeacher(student).train()
    batch = 5 + 3 * torch.randn(64, 4)
    linear, norm = teacher.module[0], teacher.module[1]
    torch.testing.assert_close(norm(linear(batch)).mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * linear(batch).mean(0))
    before = copy.deepcopy(norm.state_dict())
    student(batch - 10)
    teacher.update(student, 0.5)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(norm.state_dict()[name], before[name])


def test_the_students_batchnorm_still_learns_its_statistics():
    student = _student()
    EMATeacher(student)
    student(torch.randn(8, 4))
    assert student[1].momentum == 0.1
    assert student[1].num_batches_tracked == 1


def test_state_dict_round_trip():
    teacher = EMATeacher(_student())
    teacher.update(_trained(_student()), 0.5)
    other = EMATeacher(_student())
    other.load_state_dict(teacher.state_dict())
    batch = torch.randn(8, 4)
    torch.testing.assert_close(other.module(batch), teacher.module(batch))


def test_an_encoder_has_a_teacher_of_its_own():
    student = MaskedEncoder("vit_tiny_patch16_224", img_size=32, depth=1)
    teacher = EMATeacher(student)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(teacher.module(images), student(images))
    nn.init.normal_(student.mask_token)
    teacher.update(student, 0.75)
    torch.testing.assert_close(teacher.module.mask_token, 0.25 * student.mask_token.detach())


def test_half_precision_student_is_averaged_in_the_teachers_precision():
    student = _student()
    teacher = EMATeacher(student)
    teacher.update(copy.deepcopy(student).half(), 0.5)
    assert teacher.module[0].weight.dtype == torch.float32


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match=r"student and teacher differ, first in: 0\.bias"):
        EMATeacher(_student()).update(nn.Sequential(nn.Linear(4, 6, bias=False)), 0.5)
