"""A few kilobytes of text and the order in which training reads them.

`batch` gives inputs and targets of a step; who trains on which rows is the caller's choice. The
text was written for this project.
"""

import torch

TEXT = b"""\
The lighthouse keeper counted ships. In the morning he counted the ships that came from the north,
and in the evening he counted the ships that came from the south, and at night he counted the lamps
of the ships that did not come in at all. He wrote the numbers in a book with a grey cover. On each
page there were two columns, one for the ships and one for the days, and at the foot of each page
there was a sum, and the sum was carried to the head of the next page, so that no page stood alone.

"Why do you count them?" asked the girl who brought the bread. "Nobody reads the book."

"The sea does not care for numbers," said the keeper, "but I do. A ship that is counted has been
here. A ship that is not counted may have been here, or it may have been a cloud."

The girl thought about this. The next day she counted the loaves that she carried, and there were
nine, and she counted the steps of the tower, and there were one hundred and seven. She told the
keeper. "Nine loaves and one hundred and seven steps," she said. "I have been here."

"You have been here," said the keeper, and he wrote it in the book.

In the winter a storm came, and it broke the glass of the lamp. The keeper held a lantern in the
window until the morning, and his arm grew heavy, and he put the lantern into the other hand, and
the other arm grew heavy too. Small things add up. A lantern weighs nothing for a minute and a
great deal for a night. When the sun rose he counted the ships, and there were eleven, and there
had been eleven the evening before, so that none was lost, and he slept.

When he woke the girl sat at the table with the book. She had added the columns again from the
first page to the last. "There is a mistake," she said. "On the fourth page you wrote a seven, and
it should be a one. Every sum after it is wrong by six."

The keeper looked at the seven for a long time. "A small error," he said, "and it was carried on
every page for thirty years. How did you find it?"

"I began at both ends," said the girl. "From the first page I added, and from the last page I took
away, and where the two met they did not agree. Then I looked at the pages in between, and halved
them, and halved them again, until there was one page left, and on that page there was the seven."

"Then we must write the book again," said the keeper, and he took a new book, which had a green
cover, and he dipped the pen. The girl read the numbers, and he wrote them down. They had come to
the fourth page when the first ship of the spring came round the cape, and both of them said, at
the same time and without looking up from the page: "One."

Afterwards the keeper kept two books. One was for counting and one was for checking, and they were
never written by the same hand. What the first book said, the second book was asked, and only when
the two agreed was the number carried to the next page. It took a little longer. The girl said that
it took no longer at all, if one counted the years in which the sums had been wrong.
"""

STRIDE = 389
"""Bytes from the beginning of one row to that of the next: a prime, so that rows differ."""


def batch(step: int, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens and targets, int64 [rows, length], of a step of training.

    Row r of step s begins at byte ((s * rows + r) * STRIDE) mod (len(TEXT) - length - 1), and its
    targets are the bytes one further on.
    """
    starts = [((step * rows + r) * STRIDE) % (len(TEXT) - length - 1) for r in range(rows)]
    window = torch.tensor([list(TEXT[start : start + length + 1]) for start in starts])
    return window[:, :-1].contiguous(), window[:, 1:].contiguous()
