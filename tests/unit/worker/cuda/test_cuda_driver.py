"""What the driver is asked for, call by call, and that no code of it goes unread."""

import os

import pytest

from grader.errors import DeviceError
from grader.evidence.device import ThrottleReasons
from grader.runner.cuda.api import SIGNATURES
from grader.worker.cuda.driver import CudaDriver, open_device
from grader.worker.cuda.nvml import Nvml
from tests.unit.worker.cuda.fake_libraries import FakeCuda, FakeNvml

SIZE = 2 << 20


def opened(**failing):
    library = FakeCuda(**failing)
    return library, CudaDriver(library, FakeNvml())


def test_facts():
    _, driver = opened()
    facts = driver.facts
    assert facts.name == "NVIDIA Play"
    assert facts.uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert (facts.driver, facts.driver_release) == ("13.0", "580.65.06")
    assert (facts.total_bytes, driver.free_bytes()) == (4 << 30, 3 << 30)
    assert facts.cache_bytes == 60 << 20
    assert facts.round_up(1) == facts.round_up(0) == facts.round_up(SIZE) == SIZE
    assert facts.round_up(SIZE + 1) == 2 * SIZE


def test_an_allocation_is_shareable_and_mapped():
    library, driver = opened()
    before = len(library.names())
    block = driver.allocate(SIZE)
    assert library.names()[before:] == [
        "cuMemCreate",
        "cuMemAddressReserve",
        "cuMemMap",
        "cuMemSetAccess",
    ]
    properties = library.arguments("cuMemCreate")[2]
    assert (properties.type, properties.requestedHandleTypes) == (1, 1)
    assert (properties.location.type, properties.location.id) == (1, 0)
    assert bytes(properties)[16:] == bytes(16)
    access = library.arguments("cuMemSetAccess")[2]
    assert (access.location.type, access.location.id, access.flags) == (1, 0, 3)
    assert block.size_bytes == SIZE
    driver.free(block)
    assert library.names()[-3:] == ["cuMemUnmap", "cuMemAddressFree", "cuMemRelease"]


def test_an_export_is_a_descriptor_of_this_process_alone():
    library, driver = opened()
    fd = driver.export(driver.allocate(SIZE))
    try:
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    assert library.arguments("cuMemExportToShareableHandle")[2:] == (1, 0)


def test_an_import_passes_the_descriptor_itself():
    library, driver = opened()
    driver.attach(37, SIZE)
    assert library.arguments("cuMemImportFromShareableHandle")[1:] == (37, 1)
    assert library.arguments("cuMemMap")[1:3] == (SIZE, 0)


@pytest.mark.parametrize(
    ("failing", "undone"),
    [
        ("cuMemAddressReserve", ["cuMemRelease"]),
        ("cuMemMap", ["cuMemAddressFree", "cuMemRelease"]),
        ("cuMemSetAccess", ["cuMemUnmap", "cuMemAddressFree", "cuMemRelease"]),
    ],
)
def test_half_an_allocation_is_undone(failing, undone):
    library, driver = opened(**{failing: 2})
    with pytest.raises(DeviceError) as caught:
        driver.allocate(SIZE)
    assert (caught.value.call, caught.value.code) == (failing, 2)
    after = library.names()[library.names().index(failing) :]
    assert [name for name in after if name != "cuGetErrorName"][1:] == undone


def test_copies_and_fills_are_done_when_they_return():
    library, driver = opened()
    block, other = driver.allocate(SIZE), driver.allocate(SIZE)
    for act in (
        lambda: driver.write(block, b"abc"),
        lambda: driver.fill(block, 255),
        lambda: driver.copy(block, other),
    ):
        act()
        assert library.names()[-1] == "cuCtxSynchronize"
    assert library.arguments("cuMemsetD8_v2")[1:] == (255, SIZE)
    assert driver.read(block, 3, offset=5) == bytes(3)
    assert library.arguments("cuMemcpyDtoH_v2")[1:] == (block.pointer + 5, 3)
    driver.write(block, b"")
    assert driver.read(block, 0) == b""


def test_nothing_outside_a_block_is_touched():
    library, driver = opened()
    block, large = driver.allocate(SIZE), driver.allocate(2 * SIZE)
    before = len(library.log)
    for act in (
        lambda: driver.read(block, SIZE + 1),
        lambda: driver.read(block, 1, offset=SIZE),
        lambda: driver.read(block, 1, offset=-1),
        lambda: driver.write(block, bytes(SIZE + 1)),
        lambda: driver.copy(large, block),
    ):
        with pytest.raises(DeviceError, match="of a block of"):
            act()
    assert len(library.log) == before


def test_persisting_lines_are_made_ordinary():
    library, driver = opened()
    driver.forget_persisting_lines()
    assert library.arguments("cuCtxSetLimit") == (6, 0)
    assert library.names()[-1] == "cuCtxResetPersistingL2Cache"
    library.attributes[108] = 0  # a device without such lines refuses both
    count = library.names().count("cuCtxSetLimit")
    driver.forget_persisting_lines()
    assert library.names().count("cuCtxSetLimit") == count


READS_NO_CODE = {"cuGetErrorName"}


@pytest.mark.parametrize("name", sorted(SIGNATURES.keys() - READS_NO_CODE))
def test_every_code_is_read(name):
    library = FakeCuda(**{name: 801})

    def use_everything():
        driver = CudaDriver(library, FakeNvml())
        block = driver.allocate(SIZE)
        os.close(driver.export(block))
        other = driver.attach(3, SIZE)
        driver.write(block, b"x")
        driver.fill(block, 1)
        driver.copy(block, other)
        driver.read(block, 1)
        driver.forget_persisting_lines()
        driver.free(other)
        driver.free(block)
        driver.close()

    with pytest.raises(DeviceError) as caught:
        use_everything()
    assert (caught.value.call, caught.value.code) == (name, 801)
    assert "CUDA_ERROR_NOT_SUPPORTED (801)" in str(caught.value)


@pytest.mark.parametrize("attribute", [102, 103])
def test_a_device_that_cannot_share_is_refused(attribute):
    library = FakeCuda()
    library.attributes[attribute] = 0
    with pytest.raises(DeviceError, match=f"attribute {attribute}"):
        CudaDriver(library, FakeNvml())
    assert library.names()[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_the_context_is_released():
    library, driver = opened()
    driver.close()
    assert library.names()[-1] == "cuDevicePrimaryCtxRelease_v2"


@pytest.mark.parametrize("old", [False, True])
def test_throttle_reasons_of_new_and_old_drivers(old):
    management = FakeNvml(bits=0x48, old=old)
    state = CudaDriver(FakeCuda(), management).state()
    assert state.reasons == ThrottleReasons.HW_SLOWDOWN | ThrottleReasons.HW_THERMAL_SLOWDOWN
    assert (state.sm_clock_mhz, state.memory_clock_mhz) == (1980, 3201)
    assert management.called[-3].endswith("ThrottleReasons" if old else "EventReasons")


@pytest.mark.parametrize(
    "name", ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetClockInfo"]
)
def test_a_device_that_is_lost_says_so(name):
    driver = CudaDriver(FakeCuda(), FakeNvml(**{name: 15}))  # NVML_ERROR_GPU_IS_LOST
    with pytest.raises(DeviceError) as caught:
        driver.state()
    assert (caught.value.call, caught.value.code) == (name, 15)


@pytest.mark.parametrize("name", ["nvmlInit_v2", "nvmlDeviceGetHandleByUUID"])
def test_every_code_of_nvml_is_read(name):
    management = FakeNvml(**{name: 6})
    with pytest.raises(DeviceError) as caught:
        Nvml(management, "GPU-x")
    assert (caught.value.call, caught.value.code) == (name, 6)
    assert (management.called[-1] == "nvmlShutdown") == (name != "nvmlInit_v2")


def test_a_machine_without_a_driver_says_so(monkeypatch):
    monkeypatch.setattr("grader.runner.cuda.api.LIBRARY", "libnothing.so.1")
    with pytest.raises(DeviceError, match=r"libnothing\.so\.1") as caught, open_device():
        pass
    assert "CUDA device" in caught.value.hint
