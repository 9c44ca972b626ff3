"""A real voice assistant in four stages: capture → voice activity → recognition → intent and slots.

`sentences`, `voice` and `noise` make the input, whose words and speech bounds are known; `capture`, `vad`, `asr` and `nlu` are the stages, plain
functions of their input and a frozen configuration; `setup` holds the configurations and the faults; `pipeline` wraps the stages with headwater;
`truth` reruns every subset of the faulty stages.
"""
