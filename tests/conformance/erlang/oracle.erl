%% Plays scenarios with OTP's supervisor and writes what happened, one line for each event.
%%
%% Runs on one scheduler. All processes of a scenario have high priority and the runner that plays it has not: whenever the
%% runner runs, every other process waits for a message or a timer. So the runner sees when all is quiet, without sleeping.
-module(oracle).
-export([main/2, reason/1]).

-record(run, {tab, top, gates, requests = 0, asked = #{}, shown = #{}}).

-define(AT_ONCE, 40).  % scenarios played side by side: some of them only wait for a timer
-define(PATIENCE, 60000).  % ms without any scenario coming to its end: far beyond any that waits

main(In, Out) ->
    oracle_log:install(),
    {ok, Scenarios} = file:consult(In),
    {ok, File} = file:open(Out, [write, raw, delayed_write]),
    pool(Scenarios, #{}, File),
    ok = file:close(File).

pool([], Busy, _) when map_size(Busy) =:= 0 ->
    ok;
pool([{Number, Scenario} | Rest], Busy, File) when map_size(Busy) < ?AT_ONCE ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({lines, play(Scenario)}) end),
    pool(Rest, Busy#{{Pid, Ref} => Number}, File);
pool(Rest, Busy, File) ->
    receive
        {'DOWN', Ref, process, Pid, {lines, Lines}} ->
            {Number, Others} = maps:take({Pid, Ref}, Busy),
            ok = file:write(File, [io_lib:format("= ~b~n", [Number]), [[Line, $\n] || Line <- Lines]]),
            pool(Rest, Others, File);
        {'DOWN', Ref, process, Pid, Reason} ->
            io:format(standard_error, "scenario ~p: ~p~n", [maps:get({Pid, Ref}, Busy), Reason]),
            halt(1)
    after ?PATIENCE ->
        io:format(standard_error, "no end in scenarios ~p~n", [maps:values(Busy)]),
        halt(1)
    end.

play(#{<<"root">> := Sup, <<"steps">> := Steps} = Scenario) ->
    process_flag(trap_exit, true),
    Tab = oracle_log:new(self()),
    Top = spawn_opt(fun() -> top(Tab, Sup) end, [link, {priority, high}]),
    Booted = settle(#run{tab = Tab, top = Top, gates = maps:get(<<"gates">>, Scenario, [])}),
    Played = lists:foldl(fun step/2, Booted, Steps),
    stop(Played),
    oracle_log:lines(Tab).

%% The root's parent.
top(Tab, Sup) ->
    process_flag(trap_exit, true),
    Result = oracle_child:start(Tab, <<"r">>, #{<<"supervisor">> => Sup}),
    case Result of
        {ok, Root} -> top_loop(Root);
        {error, Reason} -> oracle_log:line(Tab, "boot failed ~s", [oracle_log:reason(Reason)]), top_loop(none)
    end.

top_loop(Root) ->
    receive
        stop when is_pid(Root) -> exit(Root, shutdown);
        _ -> ok
    end,
    top_loop(Root).

stop(#run{tab = Tab, top = Top} = Run) ->
    oracle_log:line(Tab, "> stop", []),
    Top ! stop,
    settle(Run).

%% steps

step([<<"wait">>, Seconds], #run{tab = Tab} = Run) ->
    oracle_log:line(Tab, "> wait ~s", [Seconds]),
    timer:sleep(round(binary_to_float(Seconds) * 1000)),
    settle(Run);
step([<<"burst">>, Path, Actions], #run{tab = Tab} = Run) ->
    oracle_log:line(Tab, "> burst ~s", [Path]),
    case oracle_log:place(Tab, Path) of
        {Kind, Pid} when Kind =/= worker ->
            ok = sys:suspend(Pid),
            Acted = lists:foldl(fun(Action, R) -> settle(act(Action, R), Pid) end, Run, Actions),
            ok = sys:resume(Pid),
            settle(Acted);
        _ ->
            settle(lists:foldl(fun(Action, R) -> settle(act(Action, R)) end, Run, Actions))
    end;
step(Action, Run) ->
    settle(act(Action, Run)).

act([<<"exit">>, Path, Reason], #run{tab = Tab} = Run) ->
    case oracle_log:place(Tab, Path) of
        {worker, Pid} ->
            oracle_log:line(Tab, "> exit ~s ~s", [Path, Reason]),
            finish(Pid, Reason);
        _ ->
            oracle_log:line(Tab, "> exit ~s not running", [Path])
    end,
    Run;
act([<<"call">>, Path, Verb, Arg], #run{tab = Tab, requests = Last, asked = Asked} = Run) ->
    Number = Last + 1,
    oracle_log:line(Tab, "> call ~b ~s ~s ~s", [Number, Path, Verb, argument(Arg)]),
    case oracle_log:place(Tab, Path) of
        {Kind, Pid} when Kind =/= worker ->
            Self = self(),
            Call = fun() -> Self ! {answer, Number, answered(Kind, Tab, Verb, catch call(Kind, Pid, Tab, Path, Verb, Arg))} end,
            spawn_opt(Call, [link, {priority, high}]),
            erlang:yield(),
            Run#run{requests = Number, asked = Asked#{Number => true}};
        _ ->
            oracle_log:line(Tab, "answer ~b noproc", [Number]),
            Run#run{requests = Number}
    end.

finish(Pid, Reason) ->
    Ref = monitor(process, Pid),
    case Reason of
        <<"killed">> -> exit(Pid, kill);
        _ -> Pid ! {die, reason(Reason)}
    end,
    receive {'DOWN', Ref, process, Pid, _} -> erlang:yield() end.

reason(<<"shutdown:", What/binary>>) -> {shutdown, binary_to_atom(What)};
reason(Word) -> binary_to_atom(Word).

%% requests

call(dynamic, Pid, Tab, Path, <<"start_child">>, Child) ->
    'Elixir.DynamicSupervisor':start_child(Pid, oracle_child:spec(Tab, Path, Child));
call(dynamic, Pid, Tab, Path, <<"terminate_child">>, Id) ->
    'Elixir.DynamicSupervisor':terminate_child(Pid, oracle_log:latest(Tab, <<Path/binary, $/, Id/binary>>));
call(dynamic, Pid, _, _, <<"which_children">>, _) ->
    'Elixir.DynamicSupervisor':which_children(Pid);
call(dynamic, Pid, _, _, <<"count_children">>, _) ->
    maps:to_list('Elixir.DynamicSupervisor':count_children(Pid));
call(_, Pid, Tab, Path, <<"start_child">>, Child) -> supervisor:start_child(Pid, oracle_child:spec(Tab, Path, Child));
call(_, Pid, _, _, <<"terminate_child">>, Id) -> supervisor:terminate_child(Pid, Id);
call(_, Pid, _, _, <<"restart_child">>, Id) -> supervisor:restart_child(Pid, Id);
call(_, Pid, _, _, <<"delete_child">>, Id) -> supervisor:delete_child(Pid, Id);
call(_, Pid, _, _, <<"get_childspec">>, Id) -> supervisor:get_childspec(Pid, Id);
call(_, Pid, _, _, <<"which_children">>, _) -> supervisor:which_children(Pid);
call(_, Pid, _, _, <<"count_children">>, _) -> supervisor:count_children(Pid).

argument(#{<<"id">> := Id}) -> Id;
argument(Id) -> Id.

answered(_, _, _, {'EXIT', {Reason, {'Elixir.GenServer', call, _}}}) -> atom_to_binary(Reason);
answered(dynamic, Tab, <<"which_children">>, List) -> which_dynamic(Tab, List);
answered(dynamic, _, _, ignore) -> <<"undefined">>;
answered(dynamic, _, _, {error, Word}) when Word =:= max_children; Word =:= not_found -> atom_to_binary(Word);
answered(dynamic, _, <<"start_child">>, {error, Reason}) -> failed(Reason);
answered(_, _, Verb, Result) -> answer(Verb, Result).

answer(_, {'EXIT', {Reason, {gen_server, call, _}}}) -> atom_to_binary(Reason);
answer(<<"which_children">>, List) -> which(List);
answer(<<"count_children">>, Counts) -> counts(Counts);
answer(<<"get_childspec">>, {ok, Spec}) -> childspec(Spec);
answer(_, ok) -> <<"ok">>;
answer(_, {ok, undefined}) -> <<"undefined">>;
answer(_, {ok, Pid}) when is_pid(Pid) -> <<"started">>;
answer(_, {error, {already_started, Pid}}) when is_pid(Pid) -> <<"already_started">>;
answer(<<"start_child">>, {error, {Reason, Child}}) when element(1, Child) =:= child -> failed(Reason);
answer(_, {error, Word}) when
    Word =:= already_present; Word =:= not_found; Word =:= running; Word =:= restarting
->
    atom_to_binary(Word);
answer(<<"restart_child">>, {error, Reason}) -> failed(Reason).

failed(Reason) ->
    iolist_to_binary(["start_failed ", oracle_log:reason(Reason)]).

which(List) ->
    iolist_to_binary(lists:join(" ", [[Id, "=", where(Where), letter(Type)] || {Id, Where, Type, _} <- List])).

%% Elixir gives no ids and no order.
which_dynamic(Tab, List) ->
    Names = [[id(Tab, Pid), "=", where(Pid), letter(Type)] || {undefined, Pid, Type, _} <- List, is_pid(Pid)],
    Restarting = [["restarting", letter(Type)] || {undefined, restarting, Type, _} <- List],
    iolist_to_binary(lists:join(" ", lists:sort([iolist_to_binary(Name) || Name <- Names ++ Restarting]))).

id(Tab, Pid) ->
    filename:basename(oracle_log:by_pid(Tab, {pid, Pid})).

where(Pid) when is_pid(Pid) -> "up";
where(Word) -> atom_to_binary(Word).

letter(worker) -> "";
letter(supervisor) -> "(s)".

counts(Counts) ->
    iolist_to_binary(lists:join("/", [integer_to_binary(proplists:get_value(Key, Counts)) || Key <- [specs, active, supervisors, workers]])).

childspec(#{id := Id, restart := Restart, shutdown := Shutdown, type := Type, significant := Significant}) ->
    Time = case Shutdown of _ when is_integer(Shutdown) -> integer_to_binary(Shutdown); _ -> atom_to_binary(Shutdown) end,
    iolist_to_binary(io_lib:format("~s ~s ~s ~s ~s", [Id, Restart, Time, Type, Significant])).

%% waiting until all is quiet

settle(Run) ->
    settle(Run, none).

%% Held is a supervisor that is suspended: its queue fills up.
settle(Run, Held) ->
    erlang:yield(),
    receive
        {gate, Child, Path, Phase} -> settle(at_gate(Run, Child, Path, Phase), Held)
    after 0 ->
        case is_quiet(Run, Held) of
            true -> shown(answered(Run, Held), Held);
            false -> receive {gate, _, _, _} = Gate -> self() ! Gate after 1 -> ok end, settle(Run, Held)
        end
    end.

is_quiet(#run{tab = Tab, top = Top}, Held) ->
    not oracle_log:is_someone_ending(Tab) andalso
        process_info(Top, current_function) =:= {current_function, {oracle, top_loop, 1}} andalso
        lists:all(fun({_, _, Pid}) -> Pid =:= Held orelse is_idle(Pid) end, oracle_log:supervisors(Tab)).

is_idle(Pid) ->
    case process_info(Pid, [message_queue_len, current_function]) of
        [{message_queue_len, 0}, {current_function, {gen_server, loop, _}}] -> true;
        _ -> false
    end.

%% A child waits in its start or its stop, and its supervisor with it: what happens meanwhile, queues.
at_gate(#run{tab = Tab, gates = Gates} = Run, Child, Path, Phase) ->
    oracle_log:line(Tab, "gate ~s ~s", [Path, Phase]),
    {Planned, Rest} = case Gates of [] -> {[], []}; [First | Others] -> {First, Others} end,
    Above = filename:dirname(Path),
    IsBooting = Above =/= <<"r">> andalso oracle_log:place(Tab, Above) =:= nothing,
    Actions = case IsBooting of
        true -> [];  % when it is up, it and its parent go on side by side
        false -> Planned
    end,
    Meanwhile = fun(Action, R) ->
        case is_process_alive(Child) of
            true -> meanwhile(Action, R, Child, Path);
            false -> R  % its supervisor goes on
        end
    end,
    Acted = lists:foldl(Meanwhile, reported(Run#run{gates = Rest}), Actions),
    case is_process_alive(Child) of
        true -> Answered = reported(Acted), Child ! go, Answered;
        false -> Acted
    end.

meanwhile([<<"end">>, Reason], #run{tab = Tab} = Run, Child, _) ->
    oracle_log:line(Tab, "> end ~s", [Reason]),
    finish(Child, Reason),
    Run;
meanwhile([<<"exit">>, Id, Reason], Run, _, Path) ->
    act([<<"exit">>, filename:join(filename:dirname(Path), Id), Reason], Run);
meanwhile([<<"call">>, Verb, <<".">>], Run, _, Path) ->
    act([<<"call">>, filename:dirname(Path), Verb, filename:basename(Path)], Run);
meanwhile([<<"call">>, Verb, Arg], Run, _, Path) ->
    act([<<"call">>, filename:dirname(Path), Verb, Arg], Run).

%% Every request of a supervisor that is idle was answered.
answered(#run{asked = Asked} = Run, none) when map_size(Asked) > 0 ->
    Waiting = maps:keys(Asked),
    Answers = [receive {answer, Number, Answer} -> {Number, Answer} after ?PATIENCE -> exit({unanswered, Number}) end || Number <- Waiting],
    tell(Run, Answers);
answered(Run, _) ->
    reported(Run).

%% Those that were answered so far.
reported(#run{asked = Asked} = Run) ->
    erlang:yield(),
    Answers = [{N, A} || N <- maps:keys(Asked), {ok, A} <- [receive {answer, N, Answer} -> {ok, Answer} after 0 -> none end]],
    tell(Run, Answers).

tell(#run{tab = Tab, asked = Asked} = Run, Answers) ->
    lists:foreach(fun({Number, Answer}) -> oracle_log:line(Tab, "answer ~b ~s", [Number, Answer]) end, lists:sort(Answers)),
    Run#run{asked = maps:without([Number || {Number, _} <- Answers], Asked)}.

%% The children of every supervisor, where they changed.
shown(#run{tab = Tab, shown = Before} = Run, Held) ->
    oracle_log:bury(Tab),
    Show = fun({_, _, Pid}, Shown) when Pid =:= Held -> Shown;
              ({Path, Kind, Pid}, Shown) ->
        [Which, Counts] = [
            answered(Kind, Tab, Verb, call(Kind, Pid, Tab, Path, Verb, none)) || Verb <- [<<"which_children">>, <<"count_children">>]
        ],
        Text = <<Which/binary, " ", Counts/binary>>,
        case Shown of
            #{Path := Text} -> ok;
            _ -> oracle_log:line(Tab, "tree ~s: ~s", [Path, Text])
        end,
        Shown#{Path => Text}
    end,
    Run#run{shown = lists:foldl(Show, Before, lists:sort(oracle_log:supervisors(Tab)))}.
