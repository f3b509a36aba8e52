-- Four providers: groq active, the others disabled until they are configured. No keys.
-- A provider that exists already is left as it is, and groq becomes active only where no provider is, so running it
-- again does no harm. README_MIGRATIONS.md explains the language of the two documents of each provider.
--
--   psql -v ON_ERROR_STOP=1 -f 002_seed_initial_providers.sql

BEGIN;

SET LOCAL search_path = public;

-- Groq: the Responses API. It rejects unknown fields, so what callers name "messages" travels as "input". The text is
-- only in items of type "message": the model's reasoning comes first, in an item of its own.
INSERT INTO llm_provider_configs (
    provider_name, display_name, description,
    auth_scheme, auth_header_template, base_url, endpoint_path_template, http_method, additional_headers,
    default_model, supported_models, model_capabilities,
    is_active, is_enabled, updated_by,
    request_builder_config, response_extractor_config
) VALUES (
    'groq', 'Groq', 'Groq, by its Responses API',
    'bearer', 'Authorization: Bearer {api_key}', 'https://api.groq.com', '/openai/v1/responses', 'POST',
    '{"Content-Type": "application/json"}',
    'openai/gpt-oss-120b', '["openai/gpt-oss-120b"]',
    '{"streaming": true, "tools": true, "json_schema": true, "reasoning": true}',
    NOT EXISTS (SELECT FROM llm_provider_configs WHERE is_active), TRUE, 'seed',
    $json${
      "version": "1.0",
      "payload_structure": {
        "model": {"source": "param:model_name", "required": true},
        "messages": {"source": "param:messages", "required": true, "target": "input",
                     "transform": ["without_system", "input_items"]},
        "instructions": {"source": "param:messages", "required": false, "transform": ["system_text"]},
        "max_output_tokens": {"source": "param:max_output_tokens", "required": false, "min": 1},
        "temperature": {"source": "param:temperature", "required": false, "min": 0, "max": 2},
        "top_p": {"source": "param:top_p", "required": false, "min": 0, "max": 1},
        "tools": {"source": "param:tools", "required": false, "transform": ["flatten"]},
        "tool_choice": {"source": "param:tool_choice", "required": false, "transform": ["flatten"]},
        "parallel_tool_calls": {"source": "param:parallel_tool_calls", "required": false},
        "response_format": {"source": "param:response_format", "required": false, "target": "text.format",
                            "transform": ["flatten"]},
        "reasoning_effort": {"source": "param:reasoning_effort", "required": false, "target": "reasoning.effort"},
        "service_tier": {"source": "param:service_tier", "required": false},
        "metadata": {"source": "param:metadata", "required": false},
        "user": {"source": "param:user", "required": false}
      },
      "stream": {"payload": {"stream": true}}
    }$json$,
    $json${
      "version": "1.0",
      "extraction_rules": {
        "error": {"type": "object",
                  "paths": ["error", "response.error", "[@][?type=='error'] | [0]"],
                  "fields": {"message": {"paths": ["message"]}, "code": {"paths": ["code", "type"]}}},
        "text_content": {"type": "string", "join": "",
                         "paths": ["output[?type=='message'].content[] | [?type=='output_text'].text"]},
        "reasoning": {"type": "string", "join": "",
                      "paths": ["output[?type=='reasoning'].content[] | [?type=='reasoning_text'].text"]},
        "refusal": {"type": "string", "join": "",
                    "paths": ["output[?type=='message'].content[] | [?type=='refusal'].refusal"]},
        "tool_calls": {"type": "array",
                       "paths": ["output[?type=='function_call']"],
                       "fields": {"id": {"paths": ["call_id"]}, "name": {"paths": ["name"]},
                                  "arguments": {"paths": ["arguments"]}}},
        "finish_reason": {"type": "string",
                          "paths": ["incomplete_details.reason", "response.incomplete_details.reason",
                                    "output[?type=='function_call'] && 'tool_calls'",
                                    "response.output[?type=='function_call'] && 'tool_calls'",
                                    "status", "response.status"],
                          "map": {"completed": "stop", "max_output_tokens": "length", "tool_calls": "tool_calls",
                                  "content_filter": "content_filter", "failed": "error"}},
        "usage_stats": {"type": "object",
                        "paths": ["usage", "response.usage"],
                        "fields": {"input_tokens": {"paths": ["input_tokens"]},
                                   "output_tokens": {"paths": ["output_tokens"]},
                                   "total_tokens": {"paths": ["total_tokens"]},
                                   "cached_tokens": {"paths": ["input_tokens_details.cached_tokens"]},
                                   "reasoning_tokens": {"paths": ["output_tokens_details.reasoning_tokens"]}}},
        "model": {"type": "string", "paths": ["model", "response.model"]},
        "stream": {
          "text_content": {"type": "string", "paths": ["[@][?type=='response.output_text.delta'] | [0].delta"]},
          "reasoning": {"type": "string", "paths": ["[@][?type=='response.reasoning_text.delta'] | [0].delta"]},
          "refusal": {"type": "string", "paths": ["[@][?type=='response.refusal.delta'] | [0].delta"]},
          "tool_calls": {"type": "array",
                         "paths": ["[@][?type=='response.output_item.done'].item | [?type=='function_call']"],
                         "fields": {"id": {"paths": ["call_id"]}, "name": {"paths": ["name"]},
                                    "arguments": {"paths": ["arguments"]}}}
        }
      }
    }$json$
) ON CONFLICT (provider_name) DO NOTHING;

-- OpenRouter: OpenAI's chat completions, with fields of its own. An answer with status 200 can carry an error.
INSERT INTO llm_provider_configs (
    provider_name, display_name, description,
    auth_scheme, auth_header_template, base_url, endpoint_path_template, http_method, additional_headers,
    default_model, supported_models, model_capabilities,
    is_active, is_enabled, updated_by,
    request_builder_config, response_extractor_config
) VALUES (
    'openrouter', 'OpenRouter', 'OpenRouter, by its chat completions API',
    'bearer', 'Authorization: Bearer {api_key}', 'https://openrouter.ai', '/api/v1/chat/completions', 'POST',
    '{"Content-Type": "application/json"}',
    'openai/gpt-oss-120b', '["openai/gpt-oss-120b"]',
    '{"streaming": true, "tools": true, "json_schema": true, "reasoning": true}',
    FALSE, FALSE, 'seed',
    $json${
      "version": "1.0",
      "payload_structure": {
        "model": {"source": "param:model_name", "required": true},
        "messages": {"source": "param:messages", "required": true},
        "max_output_tokens": {"source": "param:max_output_tokens", "required": false,
                              "target": "max_completion_tokens", "min": 1},
        "temperature": {"source": "param:temperature", "required": false, "min": 0, "max": 2},
        "top_p": {"source": "param:top_p", "required": false, "min": 0, "max": 1},
        "stop": {"source": "param:stop", "required": false},
        "seed": {"source": "param:seed", "required": false},
        "tools": {"source": "param:tools", "required": false},
        "tool_choice": {"source": "param:tool_choice", "required": false},
        "response_format": {"source": "param:response_format", "required": false},
        "reasoning_effort": {"source": "param:reasoning_effort", "required": false},
        "models": {"source": "param:fallback_models", "required": false},
        "provider": {"source": "param:provider_preferences", "required": false},
        "app_url": {"source": "param:app_url", "required": false, "in": "header", "target": "HTTP-Referer"},
        "app_title": {"source": "param:app_title", "required": false, "in": "header", "target": "X-OpenRouter-Title"}
      },
      "stream": {"payload": {"stream": true, "stream_options": {"include_usage": true}}}
    }$json$,
    $json${
      "version": "1.0",
      "extraction_rules": {
        "error": {"type": "object", "paths": ["error"],
                  "fields": {"message": {"paths": ["message"]}, "code": {"paths": ["code"]}}},
        "text_content": {"type": "string", "paths": ["choices[0].message.content"]},
        "reasoning": {"type": "string", "paths": ["choices[0].message.reasoning"]},
        "refusal": {"type": "string", "paths": ["choices[0].message.refusal"]},
        "tool_calls": {"type": "array", "paths": ["choices[0].message.tool_calls"],
                       "fields": {"id": {"paths": ["id"]}, "name": {"paths": ["function.name"]},
                                  "arguments": {"paths": ["function.arguments"]}}},
        "finish_reason": {"type": "string", "paths": ["choices[0].finish_reason"],
                          "map": {"stop": "stop", "length": "length", "tool_calls": "tool_calls",
                                  "content_filter": "content_filter", "error": "error"}},
        "usage_stats": {"type": "object", "paths": ["usage"],
                        "fields": {"input_tokens": {"paths": ["prompt_tokens"]},
                                   "output_tokens": {"paths": ["completion_tokens"]},
                                   "total_tokens": {"paths": ["total_tokens"]},
                                   "cached_tokens": {"paths": ["prompt_tokens_details.cached_tokens"]},
                                   "reasoning_tokens": {"paths": ["completion_tokens_details.reasoning_tokens"]},
                                   "cost": {"paths": ["cost"]}}},
        "model": {"type": "string", "paths": ["model"]},
        "stream": {
          "done": "[DONE]",
          "text_content": {"type": "string", "paths": ["choices[0].delta.content"]},
          "reasoning": {"type": "string", "paths": ["choices[0].delta.reasoning"]},
          "refusal": {"type": "string", "paths": ["choices[0].delta.refusal"]},
          "tool_calls": {"type": "array", "paths": ["choices[0].delta.tool_calls"],
                         "fields": {"index": {"paths": ["index"]}, "id": {"paths": ["id"]},
                                    "name": {"paths": ["function.name"]},
                                    "arguments": {"paths": ["function.arguments"]}}}
        }
      }
    }$json$
) ON CONFLICT (provider_name) DO NOTHING;

-- Gemini: the model is in the path and the key in a header, never in the query: URLs end up in logs. Output tokens
-- are those of the candidates plus the thoughts. Its errors sometimes come inside a list of one.
INSERT INTO llm_provider_configs (
    provider_name, display_name, description,
    auth_scheme, auth_header_template, base_url, endpoint_path_template, http_method, additional_headers,
    default_model, supported_models, model_capabilities,
    is_active, is_enabled, updated_by,
    request_builder_config, response_extractor_config
) VALUES (
    'google_ai', 'Google AI (Gemini)', 'Gemini, by the Generative Language API',
    'header', 'x-goog-api-key: {api_key}', 'https://generativelanguage.googleapis.com',
    '/v1beta/models/{model}:generateContent', 'POST', '{"Content-Type": "application/json"}',
    'gemini-2.5-flash', '["gemini-2.5-flash"]',
    '{"streaming": true, "tools": true, "json_schema": true, "reasoning": true}',
    FALSE, FALSE, 'seed',
    $json${
      "version": "1.0",
      "payload_structure": {
        "model": {"source": "param:model_name", "required": true, "in": "path"},
        "messages": {"source": "param:messages", "required": true, "target": "contents",
                     "transform": ["without_system", "content_parts",
                                   {"map_roles": {"assistant": "model", "tool": "user"}}, "merge_turns"]},
        "system": {"source": "param:messages", "required": false, "target": "systemInstruction.parts",
                   "transform": ["system_text", "text_parts"]},
        "temperature": {"source": "param:temperature", "required": false, "target": "generationConfig.temperature",
                        "min": 0, "max": 2},
        "top_p": {"source": "param:top_p", "required": false, "target": "generationConfig.topP", "min": 0, "max": 1},
        "top_k": {"source": "param:top_k", "required": false, "target": "generationConfig.topK", "min": 1},
        "max_output_tokens": {"source": "param:max_output_tokens", "required": false,
                              "target": "generationConfig.maxOutputTokens", "min": 1},
        "stop": {"source": "param:stop", "required": false, "target": "generationConfig.stopSequences",
                 "transform": ["list"]},
        "seed": {"source": "param:seed", "required": false, "target": "generationConfig.seed"},
        "thinking_config": {"source": "param:thinking_config", "required": false,
                            "target": "generationConfig.thinkingConfig"},
        "response_mime_type": {"source": "param:response_format", "required": false,
                               "target": "generationConfig.responseMimeType", "transform": ["json_mime_type"]},
        "response_json_schema": {"source": "param:response_format", "required": false,
                                 "target": "generationConfig.responseJsonSchema", "transform": ["json_schema"]},
        "tools": {"source": "param:tools", "required": false, "transform": ["function_declarations"]},
        "tool_choice": {"source": "param:tool_choice", "required": false,
                        "target": "toolConfig.functionCallingConfig", "transform": ["function_calling_config"]}
      },
      "stream": {"endpoint_path_template": "/v1beta/models/{model}:streamGenerateContent", "query": {"alt": "sse"}}
    }$json$,
    $json${
      "version": "1.0",
      "extraction_rules": {
        "error": {"type": "object", "paths": ["error", "[0].error"],
                  "fields": {"message": {"paths": ["message"]}, "code": {"paths": ["status", "code"]}}},
        "text_content": {"type": "string", "join": "", "paths": ["candidates[0].content.parts[?!thought].text"]},
        "reasoning": {"type": "string", "join": "", "paths": ["candidates[0].content.parts[?thought].text"]},
        "refusal": {"type": "string", "paths": ["promptFeedback.blockReason"]},
        "tool_calls": {"type": "array", "paths": ["candidates[0].content.parts[].functionCall"],
                       "fields": {"id": {"paths": ["id"]}, "name": {"paths": ["name"]},
                                  "arguments": {"paths": ["args"]}}},
        "finish_reason": {"type": "string",
                          "paths": ["candidates[0].content.parts[?functionCall] && 'tool_calls'",
                                    "candidates[0].finishReason", "promptFeedback.blockReason && 'blocked'"],
                          "map": {"STOP": "stop", "MAX_TOKENS": "length", "tool_calls": "tool_calls",
                                  "SAFETY": "content_filter", "RECITATION": "content_filter",
                                  "blocked": "content_filter"}},
        "usage_stats": {"type": "object", "paths": ["usageMetadata"],
                        "fields": {"input_tokens": {"paths": ["promptTokenCount"]},
                                   "output_tokens": {"sum": ["candidatesTokenCount", "thoughtsTokenCount"]},
                                   "total_tokens": {"paths": ["totalTokenCount"]},
                                   "cached_tokens": {"paths": ["cachedContentTokenCount"]},
                                   "reasoning_tokens": {"paths": ["thoughtsTokenCount"]}}},
        "model": {"type": "string", "paths": ["modelVersion"]},
        "stream": {}
      }
    }$json$
) ON CONFLICT (provider_name) DO NOTHING;

-- OpenAI: chat completions. Models that reason reject a temperature.
INSERT INTO llm_provider_configs (
    provider_name, display_name, description,
    auth_scheme, auth_header_template, base_url, endpoint_path_template, http_method, additional_headers,
    default_model, supported_models, model_capabilities,
    is_active, is_enabled, updated_by,
    request_builder_config, response_extractor_config
) VALUES (
    'chatgpt', 'ChatGPT (OpenAI)', 'OpenAI, by its chat completions API',
    'bearer', 'Authorization: Bearer {api_key}', 'https://api.openai.com', '/v1/chat/completions', 'POST',
    '{"Content-Type": "application/json"}',
    'gpt-4.1', '["gpt-4.1"]',
    '{"streaming": true, "tools": true, "json_schema": true}',
    FALSE, FALSE, 'seed',
    $json${
      "version": "1.0",
      "payload_structure": {
        "model": {"source": "param:model_name", "required": true},
        "messages": {"source": "param:messages", "required": true},
        "max_output_tokens": {"source": "param:max_output_tokens", "required": false,
                              "target": "max_completion_tokens", "min": 1},
        "temperature": {"source": "param:temperature", "required": false, "min": 0, "max": 2},
        "top_p": {"source": "param:top_p", "required": false, "min": 0, "max": 1},
        "stop": {"source": "param:stop", "required": false},
        "seed": {"source": "param:seed", "required": false},
        "tools": {"source": "param:tools", "required": false},
        "tool_choice": {"source": "param:tool_choice", "required": false},
        "response_format": {"source": "param:response_format", "required": false},
        "reasoning_effort": {"source": "param:reasoning_effort", "required": false}
      },
      "model_overrides": {
        "o[0-9]*": {"drop": ["temperature"]},
        "gpt-5*": {"drop": ["temperature"]}
      },
      "stream": {"payload": {"stream": true, "stream_options": {"include_usage": true}}}
    }$json$,
    $json${
      "version": "1.0",
      "extraction_rules": {
        "error": {"type": "object", "paths": ["error"],
                  "fields": {"message": {"paths": ["message"]}, "code": {"paths": ["code", "type"]}}},
        "text_content": {"type": "string", "paths": ["choices[0].message.content"]},
        "refusal": {"type": "string", "paths": ["choices[0].message.refusal"]},
        "tool_calls": {"type": "array", "paths": ["choices[0].message.tool_calls"],
                       "fields": {"id": {"paths": ["id"]}, "name": {"paths": ["function.name"]},
                                  "arguments": {"paths": ["function.arguments"]}}},
        "finish_reason": {"type": "string", "paths": ["choices[0].finish_reason"],
                          "map": {"stop": "stop", "length": "length", "tool_calls": "tool_calls",
                                  "content_filter": "content_filter"}},
        "usage_stats": {"type": "object", "paths": ["usage"],
                        "fields": {"input_tokens": {"paths": ["prompt_tokens"]},
                                   "output_tokens": {"paths": ["completion_tokens"]},
                                   "total_tokens": {"paths": ["total_tokens"]},
                                   "cached_tokens": {"paths": ["prompt_tokens_details.cached_tokens"]},
                                   "reasoning_tokens": {"paths": ["completion_tokens_details.reasoning_tokens"]}}},
        "model": {"type": "string", "paths": ["model"]},
        "stream": {
          "done": "[DONE]",
          "text_content": {"type": "string", "paths": ["choices[0].delta.content"]},
          "refusal": {"type": "string", "paths": ["choices[0].delta.refusal"]},
          "tool_calls": {"type": "array", "paths": ["choices[0].delta.tool_calls"],
                         "fields": {"index": {"paths": ["index"]}, "id": {"paths": ["id"]},
                                    "name": {"paths": ["function.name"]},
                                    "arguments": {"paths": ["function.arguments"]}}}
        }
      }
    }$json$
) ON CONFLICT (provider_name) DO NOTHING;

COMMIT;
