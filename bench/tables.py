# SPDX-License-Identifier: MIT
"""Tables in Markdown, and the places in a page that are theirs."""

import re


def markdown(heads, rows):
    lines = ['| ' + ' | '.join(heads) + ' |', '|---' * len(heads) + '|']
    lines += ['| ' + ' | '.join(str(cell) for cell in row) + ' |' for row in rows]
    return '\n'.join(lines)


def filled_in(page, texts):
    """Puts each text between its marks: <!-- NAME --> and <!-- /NAME -->, each on its own line."""
    for name, text in texts.items():
        place = re.compile(rf'(<!-- {name} -->\n).*?(\n<!-- /{name} -->)', re.S)
        if not place.search(page):
            raise SystemExit(f'the page has no place for {name}')
        page = place.sub(lambda found, text=text: found.group(1) + text + found.group(2), page)
    return page
