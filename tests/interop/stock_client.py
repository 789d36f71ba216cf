"""A stock JuiceFS client: format, mount, check."""

from harness.process import Process, run
from harness.volume import Mount, Volume, is_mounted, tarn
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

    def stock_format_and_adopt(self, *options):
        self.stock_format(*options)
        tarn("primary", "adopt", self.url)
        return self

    def stock_mount(self, *options, url=None):
        self._mounts += 1
        label = f"stock-{self._mounts}"
        return StockMount(self.program, url or self.url, self.workdir / f"mnt-{label}", "--cache-dir",
                          self.workdir / f"cache-{label}", *options,
                          log=self.workdir / f"mount-{label}.log")

    def stock(self, *arguments):
        """Run another command of the stock client; its output, both streams."""
        return self._said(arguments)

    def _said(self, arguments, **options):
        done = run([self.program, *arguments], timeout=300, **options)
        return done.stdout + done.stderr

    def assert_nothing_lost(self):
        """The stock client finds every block that the metadata names."""
        assert "ERROR" not in self.stock("fsck", self.url)

    def assert_nothing_leaked(self):
        """It finds no block that nobody refers to, however young."""
        said = self._said(["gc", self.url], env={"JFS_GC_SKIPPEDTIME": "0"})
        assert " 0 leaked" in said, said
