#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the test functions of a meson test run: `N passed, N failed`, and `, N skipped`.

usage: count.py meson-logs/testlog.json

A program whose output is neither cmocka's nor unittest's counts as one test. So does one that
broke before it could count: it died, or ran out of time. Fails when a test failed, or none ran.
"""

import json
import re
import sys
from collections import Counter

PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'

# cmocka: "[==========] 12 test(s) run.", "[  PASSED  ] 11 test(s).", "[  SKIPPED ] 1 test(s), …"
CMOCKA = r'^\[\s*{}\s*\][^\n]*?(\d+) test\(s\){}'
# unittest: "Ran 12 tests in 1.234s", and "OK" or "FAILED (failures=1, errors=1, skipped=1)"
UNITTEST = re.compile(r'^Ran (\d+) tests? in .*\n+(?:OK|FAILED)(?: \((.*)\))?$', re.MULTILINE)


# What an emulator leaves out, before cmocka hears of it (tests/inject/real_only.h).
LEFT_OUT = re.compile(r'^\w+: not under an emulator$', re.MULTILINE)


def total(mark, text, end=''):
    found = re.findall(CMOCKA.format(mark, end), text, re.MULTILINE)
    return sum(int(number) for number in found)


def count_cmocka(text):
    ran = total('==========', text, ' run')
    passed, skipped = total('PASSED', text), total('SKIPPED', text)
    left_out = len(LEFT_OUT.findall(text))
    return Counter(passed=passed, skipped=skipped + left_out, failed=ran - passed - skipped)


def count_unittest(text):
    counts = Counter()
    for ran, details in UNITTEST.findall(text):
        bad = {name: int(number) for name, number in re.findall(r'(\w+)=(\d+)', details)}
        failed, skipped = bad.get('failures', 0) + bad.get('errors', 0), bad.get('skipped', 0)
        # A test that is many subtests may fail more than once.
        passed = max(0, int(ran) - failed - skipped)
        counts.update(passed=passed, failed=failed, skipped=skipped)
    return counts


def count_program(entry):
    text = (entry.get('stdout') or '') + '\n' + (entry.get('stderr') or '')
    counts = count_cmocka(text) + count_unittest(text)
    if entry['result'] == 'SKIP':
        return counts or Counter(skipped=1)
    if entry['result'] not in ('OK', 'EXPECTEDFAIL'):
        return counts if counts[FAILED] else counts + Counter(failed=1)
    return counts or Counter(passed=1)


def main(log):
    with open(log, encoding='utf-8') as lines:
        entries = [json.loads(line) for line in lines if line.strip()]
    counts = Counter()
    for entry in entries:
        of_program = count_program(entry)
        counts += of_program
        if of_program[FAILED]:
            print(f'failed: {entry["name"]} ({entry["result"]})')

    skipped = f', {counts[SKIPPED]} skipped' if counts[SKIPPED] else ''
    print(f'{counts[PASSED]} passed, {counts[FAILED]} failed{skipped}')
    return 1 if counts[FAILED] or not counts[PASSED] else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
