#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes messages.h and messages.c from schema/*.json: plain structs, one straight line per field with its
version test. Usage: codegen.py OUT_H OUT_C SCHEMA..."""
import json
import os
import sys

PRIMITIVES = {
    'bool': ('bool', 'bool'), 'int8': ('int8_t', 'i8'), 'int16': ('int16_t', 'i16'), 'uint16': ('uint16_t', 'u16'),
    'int32': ('int32_t', 'i32'), 'uint32': ('uint32_t', 'u32'), 'int64': ('int64_t', 'i64'),
    'uuid': ('struct tide_uuid', 'uuid'),
}
SIZES = {'bool': 1, 'int8': 1, 'int16': 2, 'uint16': 2, 'int32': 4, 'uint32': 4, 'int64': 8, 'uuid': 16}
SPANS = ('string', 'bytes', 'records')


class Message:
    """A side of an API, or with side None what has no API: keys and values of records, bytes inside of other messages."""
    def __init__(self, schema, side):
        self.name = f"{schema['api']}_{side}" if side else schema['data']
        low, high = (int(v) for v in schema['versions'].split('-'))
        self.low, self.high = low, high
        self.flexible = schema['flexible']
        self.fields = schema[side or 'fields']
        self.data = side is None
        self.one_pass = side == 'request' and schema.get('one_pass', False)

    def flex(self):
        if self.flexible is None or self.flexible > self.high:
            return 'false'
        return 'true' if self.flexible <= self.low else f'v >= {self.flexible}'


def span(text, message):
    """'3+' or '3-7' -> (3, high)."""
    if text is None:
        return message.low, message.high
    if text.endswith('+'):
        return int(text[:-1]), message.high
    low, _, high = text.partition('-')
    return int(low), int(high or low)


def guard(text, message):
    """The C condition under which the field is on the wire; None: always."""
    low, high = span(text, message)
    parts = []
    if low > message.low:
        parts.append(f'v >= {low}')
    if high < message.high:
        parts.append(f'v <= {high}')
    return ' && '.join(parts) or None


def nullable(field, message):
    if 'nullable' not in field:
        return 'false'
    return guard(field['nullable'], message) or 'true'


def is_list(field):
    return field['type'].startswith('[]')


def element(field):
    return field['type'][2:] if is_list(field) else field['type']


def struct_of(message, name):
    return f'{message.name}_{name}'


def structs(message, fields, found):
    """Every nested struct, innermost first."""
    for f in fields:
        if 'fields' in f:
            structs(message, f['fields'], found)
            found.setdefault(element(f), f['fields'])
    return found


def may_be_absent(field):
    """A struct of its own with a mark in front that says whether it is there."""
    return 'fields' in field and not is_list(field) and 'nullable' in field


def default_of(field):
    d = field.get('default')
    t = field['type']
    if t in ('bool',):
        return 'true' if str(d).lower() == 'true' else None
    if t in PRIMITIVES and t != 'uuid' and d not in (None, '0', 'false', ''):
        return 'INT64_MIN' if d == '-9223372036854775808' else str(d)
    return None


def member(message, field):
    if is_list(field):
        return f"struct wire_list {field['name']};"
    t = field['type']
    if t in PRIMITIVES:
        return f"{PRIMITIVES[t][0]} {field['name']};"
    if t in SPANS:
        return f"struct wire_bytes {field['name']};"
    present = f"bool has_{field['name']}; " if may_be_absent(field) else ''
    return f"{present}struct {struct_of(message, t)} {field['name']};"


def read_value(message, field, to):
    flex = message.flex()
    t = element(field)
    if is_list(field):
        lines = [f'{to}.count = wire_get_count(c, {flex}, {nullable(field, message)});', f'{to}.at = *c;']
        if t in PRIMITIVES:
            lines += [f'for (int32_t i = 0; i < {to}.count && !c->failed; i++)',
                      f'    (void)wire_get_{PRIMITIVES[t][1]}(c);']
        elif t in SPANS:
            lines += [f'for (int32_t i = 0; i < {to}.count && !c->failed; i++)',
                      f'    (void)wire_get_string(c, {flex}, false);']
        else:
            s = struct_of(message, t)
            lines += [f'for (int32_t i = 0; i < {to}.count && !c->failed; i++) {{',
                      f'    struct {s} e;', f'    {s}_get(c, v, &e);', '}']
        return lines
    if t in PRIMITIVES:
        return [f'{to} = wire_get_{PRIMITIVES[t][1]}(c);']
    if t == 'string':
        return [f'{to} = wire_get_string(c, {flex}, {nullable(field, message)});']
    if t in SPANS:
        return [f'{to} = wire_get_bytes(c, {flex}, {nullable(field, message)});']
    if may_be_absent(field):
        parent, _, name = to.rpartition('->')
        mark = 'wire_get_uvarint(c) != 0' if 'tag' in field else 'wire_get_i8(c) >= 0'  # KIP-893
        return [f'{parent}->has_{name} = {mark};', f'if ({parent}->has_{name})',
                f'    {struct_of(message, t)}_get(c, v, &{to});']
    return [f'{struct_of(message, t)}_get(c, v, &{to});']


def set_defaults(message, fields, prefix, indent='    '):
    out = []
    for f in fields:
        d = default_of(f)
        if d is not None and not is_list(f):
            out.append(f'{indent}{prefix}{f["name"]} = {d};')
        elif f['type'] in SPANS and ('tag' in f or guard(f.get('versions'), message)):
            out.append(f'{indent}{prefix}{f["name"]}.null = true;')
        elif 'tag' in f and 'fields' in f and not is_list(f):
            out += set_defaults(message, f['fields'], f'{prefix}{f["name"]}.', indent)
    return out


def getter(message, name, fields):
    out = [f'static void {name}_get(struct wire_cursor *c, int16_t v, struct {name} *ret)', '{',
           '    memset(ret, 0, sizeof(*ret));', '    (void)v;']
    out += set_defaults(message, fields, 'ret->')
    for f in fields:
        if 'tag' in f:
            continue
        g = guard(f.get('versions'), message)
        lines = read_value(message, f, f'ret->{f["name"]}')
        if g is None:
            out += ['    ' + line for line in lines]
        else:
            out += [f'    if ({g}) {{'] + ['        ' + line for line in lines] + ['    }']
    tagged = [f for f in fields if 'tag' in f]
    flex = message.flex()
    if flex != 'false':
        pad = '    '
        if flex != 'true':
            out.append(f'    if ({flex}) {{')
            pad = '        '
        if not tagged:
            out.append(f'{pad}wire_skip_tags(c);')
        else:
            out += [f'{pad}struct wire_tags t;', f'{pad}wire_tags_begin(c, &t);', f'{pad}while (wire_tags_next(c, &t)) {{',
                    f'{pad}    uint32_t after = wire_left(c) - t.size;', f'{pad}    switch (t.tag) {{']
            for f in tagged:
                g = guard(f.get('versions'), message)
                out.append(f'{pad}    case {f["tag"]}:')
                if g is None:
                    out += [f'{pad}        {line}' for line in read_value(message, f, f'ret->{f["name"]}')]
                else:  # a version that lacks the field skips the tag like any unknown one
                    out += [f'{pad}        if ({g}) {{'] + [f'{pad}            {line}' for line in
                                                        read_value(message, f, f'ret->{f["name"]}')]
                    out += [f'{pad}        }} else {{', f'{pad}            wire_skip(c, t.size);', f'{pad}        }}']
                out.append(f'{pad}        break;')
            out += [f'{pad}    default:', f'{pad}        wire_skip(c, t.size);', f'{pad}    }}',
                    f'{pad}    if (wire_left(c) != after)', f'{pad}        wire_fail(c);', f'{pad}}}']
        if flex != 'true':
            out.append('    }')
    return out + ['}', '']


def one_pass(message, name, fields):
    """enter and leave of a struct around its list, which is the last of its fields; a struct without a list is taken whole."""
    flex = message.flex()
    inner = [f for f in fields if is_list(f)]
    if any('tag' in f or guard(f.get('versions'), message) for f in fields) or inner not in ([], fields[-1:]):
        sys.exit(f'{name} cannot be read in one pass')
    verb = 'enter' if inner else 'take'
    out = [f'static inline void {name}_{verb}(struct wire_cursor *c, int16_t v, struct {name} *ret)', '{', '    (void)v;']
    for f in fields[:len(fields) - len(inner)]:
        out += ['    ' + line for line in read_value(message, f, f'ret->{f["name"]}')]
    for f in inner:
        out.append(f'    ret->{f["name"]}.count = wire_get_count(c, {flex}, {nullable(f, message)});')
    skip = {'false': [], 'true': ['    wire_skip_tags(c);']}.get(flex, [f'    if ({flex})', '        wire_skip_tags(c);'])
    if not inner:
        return out + skip + ['}', '']
    return out + ['}', '', f'static inline void {name}_leave(struct wire_cursor *c, int16_t v)', '{', '    (void)v;', '    (void)c;'] + skip + [
        '}', '']


def put(message, owner, field):
    """The writer of one field."""
    g = guard(field.get('versions'), message)
    flex = message.flex()
    n = field['name']
    pre = f'    if ({g})\n        ' if g else '    '
    t = element(field)
    if is_list(field):
        return [f'static inline void {owner}_open_{n}(struct wire_writer *w, int16_t v, int32_t count)', '{', '    (void)v;',
                f'{pre}wire_put_count(w, {flex}, count);', '}', '']
    if t in PRIMITIVES:
        c_type, suffix = PRIMITIVES[t]
        if t == 'uuid':
            c_type = 'const struct tide_uuid *'
        return [f'static inline void {owner}_put_{n}(struct wire_writer *w, int16_t v, {c_type} value)', '{', '    (void)v;',
                f'{pre}wire_put_{suffix}(w, value);', '}', '']
    if t == 'string':
        return [f'static inline void {owner}_put_{n}(struct wire_writer *w, int16_t v, const char *text, uint32_t len)', '{',
                '    (void)v;', f'{pre}wire_put_string(w, {flex}, text, len);', '}', '',
                f'static inline void {owner}_put_{n}_slice(struct wire_writer *w, int16_t v, const struct wire_bytes *text)', '{',
                '    (void)v;', f'{pre}wire_put_string_slice(w, {flex}, text);', '}', '']
    if t == 'bytes':
        return [f'static inline void {owner}_put_{n}(struct wire_writer *w, int16_t v, const void *bytes, uint32_t len)', '{',
                '    (void)v;', f'{pre}wire_put_bytes(w, {flex}, bytes, len);', '}', '',
                f'static inline void {owner}_put_{n}_slice(struct wire_writer *w, int16_t v, const struct wire_bytes *bytes)', '{',
                '    (void)v;', f'{pre}wire_put_bytes_slice(w, {flex}, bytes);', '}', '']
    if t in SPANS:
        return [f'static inline void {owner}_put_{n}(struct wire_writer *w, int16_t v, struct tide_rope *bytes)', '{',
                '    (void)v;', f'{pre}wire_put_records(w, {flex}, bytes);', '}', '']
    if may_be_absent(field):
        return [f'/* Its fields and its end follow when it is there. */',
                f'static inline void {owner}_open_{n}(struct wire_writer *w, int16_t v, bool present)', '{', '    (void)v;',
                f'{pre}wire_put_i8(w, present ? 1 : -1);', '}', '']
    return []  # a struct that is always there: its fields and its end follow


def fixed(field, message):
    """A tagged struct whose size is known, and in data a tagged value: the only tagged fields that are written."""
    if message.data and field['type'] in SIZES:
        return True
    return 'fields' in field and not is_list(field) and all(f['type'] in SIZES for f in field['fields'])


def writers(message, owner, fields):
    out = []
    flex = message.flex()
    for f in fields:
        if 'tag' not in f:
            out += put(message, owner, f)
    tagged = [f for f in fields if 'tag' in f and fixed(f, message)]
    if tagged and flex != 'false':
        out += [f'struct {owner}_tags {{']
        for f in tagged:
            if 'fields' not in f:
                out += [f'    bool has_{f["name"]};', f'    {PRIMITIVES[f["type"]][0]} {f["name"]};']
                continue
            out += [f'    bool has_{f["name"]};', '    struct {'] + [
                f'        {PRIMITIVES[s["type"]][0]} {s["name"]};' for s in f['fields']] + [f'    }} {f["name"]};']
        out += ['};', '',
                f'static inline void {owner}_end(struct wire_writer *w, int16_t v, const struct {owner}_tags *tags)', '{',
                f'    uint32_t count = 0;']
        for f in tagged:
            g = guard(f.get('versions'), message) or 'true'
            out.append(f'    count += tags->has_{f["name"]} && {g};')
        out += [f'    if (!({flex}))', '        return;', '    wire_put_uvarint(w, count);']
        for f in tagged:
            g = guard(f.get('versions'), message) or 'true'
            if 'fields' not in f:
                suffix, at = PRIMITIVES[f['type']][1], '&' if f['type'] == 'uuid' else ''
                out += [f'    if (tags->has_{f["name"]} && {g}) {{', f'        wire_put_uvarint(w, {f["tag"]});',
                        f'        wire_put_uvarint(w, {SIZES[f["type"]]});', f'        wire_put_{suffix}(w, {at}tags->{f["name"]});', '    }']
                continue
            size = sum(SIZES[s['type']] for s in f['fields']) + 1
            out += [f'    if (tags->has_{f["name"]} && {g}) {{', f'        wire_put_uvarint(w, {f["tag"]});',
                    f'        wire_put_uvarint(w, {size});']
            out += [f'        wire_put_{PRIMITIVES[s["type"]][1]}(w, tags->{f["name"]}.{s["name"]});' for s in f['fields']]
            out += ['        wire_put_uvarint(w, 0);', '    }']
        return out + ['}', '']
    out += [f'static inline void {owner}_end(struct wire_writer *w, int16_t v)', '{', '    (void)v;', '    (void)w;']
    if flex == 'true':
        out.append('    wire_put_uvarint(w, 0);')
    elif flex != 'false':
        out += [f'    if ({flex})', '        wire_put_uvarint(w, 0);']
    return out + ['}', '']


def message_code(message):
    head, body = [], []
    nested = structs(message, message.fields, {})
    ordered = [(struct_of(message, n), f) for n, f in nested.items()] + [(message.name, message.fields)]
    for name, fields in ordered:
        head += [f'struct {name} {{'] + [f'    {member(message, f)}' for f in fields] + ['};', '']
    if message.data:
        head += [f'enum {{ {message.name.upper()}_LOW = {message.low}, {message.name.upper()}_HIGH = {message.high} }}; /* versions */']
    head += ['/* Checks the whole message; false: malformed. Lists may be iterated afterwards. */',
             f'bool {message.name}_read(struct wire_cursor *c, int16_t v, struct {message.name} *ret);']
    for name, _ in ordered[:-1]:
        head.append(f'bool {name}_next(struct wire_list *l, int16_t v, struct {name} *ret);')
    head.append('')
    if message.one_pass:
        head.append('/* The same in one pass: what is within a list is read between enter and leave of its owner, count times; whether it was '
                    'whole is known at the end. */')
        for name, fields in ordered:
            head += one_pass(message, name, fields)
    for name, fields in ordered:
        head += writers(message, name, fields)
        body += getter(message, name, fields)
        if name != message.name:
            body += [f'bool {name}_next(struct wire_list *l, int16_t v, struct {name} *ret)', '{', '    if (l->count <= 0)',
                     '        return false;', '    l->count--;', f'    {name}_get(&l->at, v, ret);', '    return true;', '}', '']
    done = 'wire_taken' if message.name.endswith('_request') else 'wire_done'
    body += [f'bool {message.name}_read(struct wire_cursor *c, int16_t v, struct {message.name} *ret)', '{',
             f'    {message.name}_get(c, v, ret);', f'    return {done}(c);', '}', '']
    return head, body


def main(out_h, out_c, paths):
    schemas = []
    for path in sorted(paths):
        with open(path, encoding='utf-8') as f:
            schemas.append(json.load(f))
    data = [s for s in schemas if 'data' in s]
    schemas = sorted((s for s in schemas if 'api' in s), key=lambda s: s['key'])
    note = '/* Made by codegen.py from the schema files. */'
    head = [note, '#ifndef TIDEMARK_KAFKA_MESSAGES_H', '#define TIDEMARK_KAFKA_MESSAGES_H', '', '#include "kafka/wire.h"', '',
            'enum kafka_api {']
    head += [f"    KAFKA_API_{s['api'].upper()} = {s['key']}," for s in schemas] + ['};', '',
             '/* First flexible version of an API, INT16_MAX when there is none; -1 for an unknown key. */',
             'int16_t kafka_flexible_from(int16_t api_key);', '']
    body = [note, '#include "kafka/messages.h"', '', 'int16_t kafka_flexible_from(int16_t api_key)', '{', '    switch (api_key) {']
    for s in schemas:
        body += [f"    case KAFKA_API_{s['api'].upper()}:",
                 f"        return {'INT16_MAX' if s['flexible'] is None else s['flexible']};"]
    body += ['    default:', '        return -1;', '    }', '}', '']
    for s in schemas:
        for side in ('request', 'response'):
            h, b = message_code(Message(s, side))
            head += h
            body += b
    for s in data:
        h, b = message_code(Message(s, None))
        head += h
        body += b
    head += ['#endif', '']
    for path, lines in ((out_h, head), (out_c, body)):
        with open(path, 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
