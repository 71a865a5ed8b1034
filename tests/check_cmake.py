# SPDX-License-Identifier: MIT
"""Another project, which takes the installed library by CMake's find_package."""

import os
import shutil

CONSUMER = '''
cmake_minimum_required(VERSION 3.13)
project(consumer LANGUAGES {language})
find_package(tcpmsg {wanted} REQUIRED CONFIG)
foreach(kind tcpmsg tcpmsg_static)
  add_executable({language}_${{kind}} {source})
  target_link_libraries({language}_${{kind}} PRIVATE tcpmsg::${{kind}})
  target_compile_features({language}_${{kind}} PRIVATE {feature})
endforeach()
'''
ASKS = '''
cmake_minimum_required(VERSION 3.13)
project(asks LANGUAGES NONE)
foreach(wanted {versions})
  find_package(tcpmsg ${{wanted}} CONFIG QUIET)
  if(tcpmsg_FOUND OR NOT tcpmsg_CONSIDERED_VERSIONS STREQUAL "{version}")
    message(FATAL_ERROR "${{wanted}}: ${{tcpmsg_FOUND}} ${{tcpmsg_CONSIDERED_VERSIONS}}")
  endif()
endforeach()
'''
LANGUAGES = {'C': ('program.c', 'c_std_11'), 'CXX': ('program.cpp', 'cxx_std_17')}


def consume(installed, prefix, language, compiler, program, run, check_talks):
    source, feature = LANGUAGES[language]
    build = write(prefix.parent / language, CONSUMER.format(
        language=language, wanted=installed.version, source=source, feature=feature,
    ))
    (build.parent / source).write_text(program, encoding='utf-8')
    variable = {'C': 'CC', 'CXX': 'CXX'}[language]
    run('cmake', '-S', build.parent, '-B', build, f'-DCMAKE_PREFIX_PATH={prefix}',
        env=dict(os.environ, **{variable: ' '.join(compiler)}))
    run('cmake', '--build', build)
    for kind in ('tcpmsg', 'tcpmsg_static'):
        check_talks(build / f'{language}_{kind}', installed.version)
    needs = run('readelf', '-d', build / f'{language}_tcpmsg')
    assert str(prefix) in needs and str(installed.prefix) not in needs, needs


def write(folder, project):
    """A project's folder; where it is to be built."""
    folder.mkdir()
    (folder / 'CMakeLists.txt').write_text(project, encoding='utf-8')
    return folder / 'build'


def check(installed, compilers, program, run, check_talks):
    """From a copy of what was installed, for it may be moved; `compilers` by CMake's names."""
    if not shutil.which('cmake'):
        print('cmake is missing: its package is not tried')
        return
    prefix = installed.room / 'cmake' / 'moved'
    shutil.copytree(installed.prefix, prefix, symlinks=True)
    for language, compiler in compilers.items():
        consume(installed, prefix, language, compiler, program, run, check_talks)

    major, minor, patch = map(int, installed.version.split('.'))
    other = [f'{major + 1}.0', f'{major}.{minor}.{patch + 1}']
    other += [f'0.{minor - 1}', f'0.{minor + 1}', f'0.{minor}0'] if major == 0 else []
    asks = ASKS.format(versions=' '.join(other), version=installed.version)
    build = write(prefix.parent / 'asks', asks)
    run('cmake', '-S', build.parent, '-B', build, f'-DCMAKE_PREFIX_PATH={prefix}')
    print(f'cmake: {", ".join(other)} are refused')
