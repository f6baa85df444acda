"""
``make demo``: one story in a world of its own, measured by packets.

It provisions the world ``demo``, runs the story, writes ``build/demo.json``, prints a summary and
removes the world (``--keep`` leaves it). It exits with 1 if any claim of the story was not seen::

    story     blocked, joins, joins, leaves, API away, API back, joins, leaves
      |           waits for transitions of probes, within limits
      v
    result    times from the API's confirmation to the first packet; claims, true or false
      |
      v
    narrator  chapters and facts with colour in a terminal, plain lines in a log

Every time starts at the API's confirmation of a change and ends at the fate of a connection.
Nothing is claimed that was not measured in this run.
"""
