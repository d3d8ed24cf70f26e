"""Where published values live, so that many processes are seen as one.

A *book* is the pair of files one process writes: ``<uid>.vals`` holds 8-byte slots in memory-mapped segments, and
``<uid>.keys`` says which series they belong to. A *shelf* reads the books of all processes of a *group* (a directory)
and merges them. Books of dead processes are *folded* into one ``base`` file, so the number of files follows the number
of living processes.

Who reads on will find: `book` writes a book, `volume` reads that of another process, `base` reads the file of the dead;
the last two are a `series_index` of what their records say. `merge` plans how the series of all become one, and does it
in bulk. `shelf` keeps all of that up to date, `folding` makes the next base.

The room knows nothing of OpenTelemetry: identities and attributes are bytes that are compared and handed back.

Three facts carry it. A value is stored with one aligned 8-byte store, which no reader sees in halves and which survives
the death of the process, since the kernel owns the page. A living process holds a kernel lock on its key file, which
the kernel drops at any kind of death; no process id is ever compared. A file appears and changes its meaning by one
``rename`` only, so a kill at any point loses and doubles nothing.

What is not covered: loss of power (nothing is synced to a disk), and somebody with the same user id who writes into the
files.
"""
