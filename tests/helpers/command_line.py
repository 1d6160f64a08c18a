"""What tests of the command line share."""

# For one run by several processes. 40 = 15 + 15 + 10: batches of 15 divide into 7 and 8 rows; the
# last ones of validation (21 = 16 + 5) and test (33 = 32 + 1: one process has nothing) into other
# parts. Dropout, learned transformations and a fixed augmentation draw. Sums over processes are
# rounded in another order, and a training in float32 amplifies that from 1e-7 to 1e-3 within an
# epoch, whatever is right or wrong with the processes; in float64 what remains is an error.
SEVERAL_PROCESSES = (
    "net/backbone=conv5",
    "net.backbone.width=2",
    "net.learn=all",
    "net.test_copies=2",
    "dataset.train_size=40",
    "dataset.val_size=21",
    "dataset.test_size=33",
    "dataset.augment=rotation",
    "train.batch_size=15",
    "train.test_batch_size=16",
    "train/schedule=cosine",
    "train.optimizer.lr=0.003",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=64-true",
)


def check_one_sentence(done, code, *parts):
    """The contract: nothing but `error: <sentence>` on standard error, the exit code, and what the
    sentence must hold."""
    assert done.code == code, done.out + done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(".")
    for part in parts:
        assert part in lines[0]
