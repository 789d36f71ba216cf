"""A stock JuiceFS client: format, mount, check."""

from harness.process import Process, run
from harness.volume import Mount, Volume, is_mounted
from harness.wait import wait_for


class StockMount(Mount):
    """`juicefs mount` in the foreground."""

    def __init__(self, program, *arguments, **options):
        super().__init__(*arguments, **options)
        self.program = program

    def start(self, timeout=60.0):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = Process(
            [self.program, "mount", self.url, self.directory, "--no-usage-report", "--backup-meta",
             "0", "--enable-xattr", *self.options], self.log_path, env=self.env)

        def serving():
            assert self.process.is_running(), self.process.log_tail()
            return is_mounted(self.directory)
        wait_for(f"{self.directory} is mounted", serving, timeout)
        return self

    def unmount(self):
        run([self.program, "umount", self.directory])
        self.process.wait(60)


class StockVolume(Volume):
    """A volume that both clients can be pointed at."""

    def __init__(self, program, *arguments):
        super().__init__(*arguments)
        self.program = program

    def stock_format(self, *options):
        self.bucket.mkdir(parents=True, exist_ok=True)
        run([self.program, "format", "--storage", "file", "--bucket", f"{self.bucket}/", *options,
             self.url, self.name], env={"JFS_NO_USAGE_REPORT": "1"})
        return self

    def stock_mount(self, *options, url=None):
        self._mounts += 1
        label = f"stock-{self._mounts}"
        return StockMount(self.program, url or self.url, self.workdir / f"mnt-{label}", "--cache-dir",
                          self.workdir / f"cache-{label}", *options,
                          log=self.workdir / f"mount-{label}.log")

    def stock(self, *arguments):
        """Run another command of the stock client; its output, both streams."""
        done = run([self.program, *arguments], timeout=120)
        return done.stdout + done.stderr
