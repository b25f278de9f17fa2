"""From a model and what people have to an answer that shows and saves itself.

- explain: `lrp_onnx.explain`; explanation: what it returns
- explain_one, explain_folder, explain_composites: one run, many, one by several composites
- inputs: files for the model's inputs; sample_files: which of them are a sample each; fit: whether
  pictures were prepared as the model wants them; given_target: a target's value
- open_model: compiled for the inputs, or compiled already; each_output: several explained outputs
- results: checked and brought into shape; samples, explained, explained_entry, detection, sequence:
  in words
- destination: where answers go; output_files: picture, page or arrays; own_page: tables, sound,
  series and volumes; folder_index: the page beside a folder's answers; folder_record: which of
  them an earlier run has made; class_names: those that are given, or that the model holds
"""
